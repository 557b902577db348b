"""Renders chat templates with Jinja as transformers sets it up: [{"template", "variables"}] on stdin, the texts as JSON on stdout."""
import json
import sys

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment


def refuse(message):
    raise TemplateError(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
environment.filters["tojson"] = to_json
environment.globals["raise_exception"] = refuse
print(json.dumps([environment.from_string(case["template"]).render(**case["variables"]) for case in json.load(sys.stdin)]))
