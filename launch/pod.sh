#!/bin/sh
# Runs a command in a pod: launch/pod.sh python -m jax_scadn.train ...
#
# On SIGTERM the command saves and exits with 0, which Kubernetes would count as success.
# This script then exits with 143, so that the pod is restarted and resumes.
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
