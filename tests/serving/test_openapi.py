"""The OpenAPI document: its examples work, and requests made from it find no fault."""

import base64
import contextlib
import json

import jsonschema
import numpy as np
import pytest
import schemathesis
from helpers.serving import expected
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks


@pytest.fixture(scope="module")
def document(server):
    response, body = server.ask("GET", "/openapi.json")
    assert response.status == 200
    return json.loads(body)


def test_examples_work_and_answers_fit_their_schema(server, document):
    gray = np.full((1, 32, 32, 3), 128, np.uint8)
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body, headers = None, {}
            for media, content in operation.get("requestBody", {}).get("content", {}).items():
                if "example" in content:
                    body, headers = json.dumps(content["example"]), {"content-type": media}
                elif "x-example-base64" in content:
                    body = base64.b64decode(content["x-example-base64"])
                    headers = {"content-type": media}
            response, answer = server.ask(method.upper(), path, body, headers)
            assert response.status == 200, (path, answer)
            media, schema = next(iter(operation["responses"]["200"]["content"].items()))
            assert response.headers["content-type"].split(";")[0] == media
            if media == "application/json":
                jsonschema.validate(json.loads(answer), schema["schema"])
            if path.endswith("infer"):
                rows = json.loads(answer)["outputs"][0]["data"]
                np.testing.assert_allclose(rows, expected(gray)[0], atol=1e-5)
            tried += 1
    assert tried == 12


def test_schemas_are_valid(document):
    for methods in document["paths"].values():
        for operation in methods.values():
            for one in operation["responses"].values():
                for content in one.get("content", {}).values():
                    Draft202012Validator.check_schema(content["schema"])


load_all_checks()
WANTED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
    ]
)


@pytest.mark.parametrize(
    "examples", [6, pytest.param(300, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_generated_requests_find_no_fault(server, document, examples):
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url.rstrip("/"))
    asked = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:

            @settings(
                max_examples=examples,
                database=None,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(mode))
            def ask(case):
                case.call_and_validate(checks=WANTED)
                asked.add(case.operation.label)

            with contextlib.suppress(Unsatisfiable):  # nothing to get wrong
                ask()
    assert len(asked) == 12
