#!/bin/sh
# Runs a command in a pod: launch/pod.sh python -m jax_scadn.train ...
#
# At SIGTERM the command saves and ends with 0, which Kubernetes would take for success.
# This ends with 143 then, so that the pod is started again and goes on.
stopped=
trap 'stopped=1; kill -TERM "$command"' TERM
"$@" &
command=$!
wait "$command"
status=$?
if [ -n "$stopped" ]; then
    wait "$command"
    status=143
fi
exit "$status"
