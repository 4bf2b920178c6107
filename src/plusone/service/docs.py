"""The pages for people: the API in one page, made from the OpenAPI document, and one page for each problem.

They are whole in themselves, with no script and nothing from elsewhere: they work where the service does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from plusone.errors import PlusoneError
from plusone.service.problems import problem_types, title

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
code {{ font: 0.9em ui-monospace, monospace }}
h2 {{ font-size: 1rem; margin: 2rem 0 0 }}
td, th {{ text-align: left; vertical-align: top; padding: 0.1rem 1rem 0.1rem 0 }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def api_page(document: Mapping[str, Any]) -> str:
    """The API: what it promises, and every operation with its parameters, body and answers."""
    parts = [_paragraphs(document["info"]["description"]), '<p>For machines: <a href="/openapi.json">openapi.json</a>.']
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}.")
            parts.append("<table>" + "".join(_rows(operation, document["components"]["schemas"])) + "</table>")
    parts.append("<h2>Problems</h2><ul>")
    parts += [f'<li><a href="/problems/{code}">{escape(title(kind))}</a>' for code, kind in problem_types().items()]
    parts.append("</ul>")
    return _PAGE.format(title=escape(document["info"]["title"]), body="\n".join(parts))


def problem_page(kind: type[PlusoneError]) -> str:
    """What a problem means and what to do about it."""
    happened = {"no": "The operation definitely did not happen.", "maybe": "The operation may have happened."}
    body = f"""{_paragraphs(kind.__doc__ or "")}
<p>{happened[kind.applied]} (<code>applied: {kind.applied}</code>)
<p>HTTP status {kind.http_status}, <code>type: /problems/{kind.code}</code>"""
    return _PAGE.format(title=escape(title(kind)), body=body)


def _rows(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", ()):
        what = f"<code>{escape(parameter['name'])}</code> ({parameter['in']})"
        yield f"<tr><th>{what}<td>{escape(parameter.get('description', ''))}"
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        reference = schema.get("items", schema).get("$ref", "")
        members = schemas.get(reference.rpartition("/")[2], {}).get("properties", {})
        said = "a list of objects with " if schema.get("type") == "array" else ""
        what = said + ", ".join(f"<code>{escape(name)}</code>" for name in members)
        yield f"<tr><th>body<td><code>{escape(media_type)}</code>: {what or escape(schema.get('description', ''))}"
    for status, answer in operation["responses"].items():
        yield f"<tr><th>{status}<td>{escape(answer['description'])}"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part.strip())}" for part in text.split("\n\n"))
