"""Schemas of the custom resources in infra/kuberay: the fields that are used there, with their types.

Written from the Go types of KubeRay (ray.io/v1; `authOptions` since 1.5.1) and the API reference of the
Prometheus operator (monitoring.coreos.com/v1). They are narrower than the resource definitions: a field
that is missing here is not always wrong, but nobody has looked it up. Pod templates are checked against
Kubernetes' own schema.
"""

from typing import Any

Schema = dict[str, Any]

_STRING: Schema = {"type": "string", "minLength": 1}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_SECONDS: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_POD_TEMPLATE: Schema = {"type": "object"}
_DURATION: Schema = {"type": "string", "pattern": r"^(0|([0-9]+(ms|[smhdwy]))+)$"}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _resource(api_version: str, kind: str, spec: Schema) -> Schema:
    metadata = _object({"name": _STRING, "namespace": _STRING}, {"labels": _STRINGS, "annotations": _STRINGS})
    return _object(
        {"apiVersion": {"const": api_version}, "kind": {"const": kind}, "metadata": metadata, "spec": spec}
    )


_RAY_CLUSTER_SPEC = _object(
    {
        "headGroupSpec": _object({"rayStartParams": _STRINGS, "template": _POD_TEMPLATE}),
        "workerGroupSpecs": _list(
            _object(
                {
                    "groupName": _STRING,
                    "replicas": _COUNT,
                    "minReplicas": _COUNT,
                    "maxReplicas": _COUNT,
                    "rayStartParams": _STRINGS,
                    "template": _POD_TEMPLATE,
                }
            )
        ),
        "rayVersion": _STRING,
    },
    {
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": _object(
            {},
            {
                "idleTimeoutSeconds": _SECONDS,
                "securityContext": {"type": "object"},
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
            },
        ),
        "authOptions": _object({"mode": {"enum": ["disabled", "token"]}}),
    },
)

_RULE = _object(
    {"alert": _STRING, "expr": _STRING, "labels": _STRINGS, "annotations": _STRINGS}, {"for": _DURATION}
)

SCHEMAS: dict[str, Schema] = {
    "RayCluster": _resource("ray.io/v1", "RayCluster", _RAY_CLUSTER_SPEC),
    "RayJob": _resource(
        "ray.io/v1",
        "RayJob",
        _object(
            {"entrypoint": _STRING, "rayClusterSpec": _RAY_CLUSTER_SPEC},
            {
                "suspend": {"type": "boolean"},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": _COUNT,
                "activeDeadlineSeconds": _SECONDS,
                "backoffLimit": _COUNT,
                "submitterPodTemplate": _POD_TEMPLATE,
            },
        ),
    ),
    "PodMonitor": _resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        _object(
            {
                "selector": _object({"matchLabels": _STRINGS}),
                "podMetricsEndpoints": _list(
                    _object({"port": _STRING}, {"interval": _DURATION, "scrapeTimeout": _DURATION})
                ),
            },
            {"podTargetLabels": _list(_STRING)},
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _object({"groups": _list(_object({"name": _STRING, "rules": _list(_RULE)}))}),
    ),
}
"""The schema of each kind."""
