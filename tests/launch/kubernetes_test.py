"""The Kubernetes manifests against their schemas.

    python -m pip install kubernetes-validate
    python -m pytest tests/launch/kubernetes_test.py

JobSet is not part of Kubernetes: its own fields are declared here, as in its CRD of
version v1alpha2. The jobs in it are validated against Kubernetes' schema.
"""

import re

import conftest
import pytest
import yaml

pytestmark = pytest.mark.cluster

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="needs the package kubernetes-validate"
)
jsonschema = pytest.importorskip("jsonschema")

VERSION = "1.31"
YAML = conftest.ROOT / "launch" / "kubernetes.yaml"
BOOLEAN, INTEGER, STRING = ({"type": t} for t in ("boolean", "integer", "string"))


def fields(required=(), **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


JOBSET = fields(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
    kind={"const": "JobSet"},
    metadata={"type": "object", "required": ["name"]},
    spec=fields(
        ("replicatedJobs",),
        network=fields(
            enableDNSHostnames=BOOLEAN,
            publishNotReadyAddresses=BOOLEAN,
            subdomain=STRING,
        ),
        failurePolicy=fields(maxRestarts=INTEGER, rules={"type": "array"}),
        successPolicy=fields(
            ("operator",),
            operator={"enum": ["All", "Any"]},
            targetReplicatedJobs={"type": "array", "items": STRING},
        ),
        suspend=BOOLEAN,
        ttlSecondsAfterFinished=INTEGER,
        replicatedJobs={
            "type": "array",
            "items": fields(
                ("name", "template"),
                name=STRING,
                replicas=INTEGER,
                template=fields(
                    ("spec",), metadata={"type": "object"}, spec={"type": "object"}
                ),
            ),
        },
    ),
)


@pytest.fixture(scope="module")
def manifests():
    return list(yaml.safe_load_all(YAML.read_text()))


def test_manifests_fit_their_schemas(manifests):
    jobset, sweep = manifests
    jsonschema.validate(jobset, JOBSET)
    kubernetes_validate.validate(sweep, VERSION, strict=True)
    for replicated in jobset["spec"]["replicatedJobs"]:
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": replicated["name"]},
            "spec": replicated["template"]["spec"],
        }
        kubernetes_validate.validate(job, VERSION, strict=True)


def test_a_wrong_field_is_detected(manifests):
    jobset, sweep = manifests
    sweep["spec"]["completion"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(sweep, VERSION, strict=True)
    jobset["spec"]["replicatedJob"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(jobset, JOBSET)


def test_related_numbers_agree():
    jobset, sweep = yaml.safe_load_all(YAML.read_text())
    (workers,) = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    environ = {one["name"]: one["value"] for one in container["env"]}
    assert job["completions"] == job["parallelism"] == int(environ["NUM_PROCESSES"])
    name = jobset["metadata"]["name"]
    host, port = environ["JAX_COORDINATOR_ADDRESS"].split(":")
    assert host == f"{name}-{workers['name']}-0-0.{name}"
    assert int(port) == container["ports"][0]["containerPort"]
    (container,) = sweep["spec"]["template"]["spec"]["containers"]
    (tasks,) = re.findall(r"--tasks=(\d+)", " ".join(container["args"]))
    assert int(tasks) == sweep["spec"]["completions"]
