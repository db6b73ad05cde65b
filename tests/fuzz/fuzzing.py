"""Requests made from our own OpenAPI document, sent to a running server, and its answers held against the document.

Half of the requests are as the document has them, half break it somewhere. Half of them name things that are there,
since an invented id never gets farther than a 404: those that belong together, or what earlier answers told.
"""

import json
import random
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.graphs import STORE
from tests.support.mails import POSTMARK

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Streams: that of a graph has no end, that of a run has one if the run has.
ENDLESS = re.compile(r"/graphs/.*/events$")
STREAM = re.compile(r"/events$")
# Blocks that reach for nothing outside of the platform.
BLOCKS = (STORE, "b1ab9b19-67a6-406d-abf5-2dba76d00c79", "f66a3543-28d3-4ab5-8945-9b336371e2ce")
SECONDS = 20


_NAME = re.compile(r"\{(\w+)\}")
_NO_NAME = ("", "")
MOST_KNOWN = 50
# What bodies and answers have besides what stands in paths.
ELSEWHERE = ("node_exec_id", "email", "password", "refresh_token", "transaction_key")
TIMES = ("30 2 * * *", "*/20 9-17 * * mon-fri", "0 0 1 jan,jul *")
# Most ends something, so what looks comes first, and what deletes last.
ORDER = ("get", "post", "put", "patch", "delete")

# Who has things.
USER, PROGRAM = "fuzz", "fuzz-program"
Belongings = dict[str, str]


def _split(path: str) -> tuple[str, str]:
    """`/api/graphs/{graph_id}` as `/api/graphs` and `graph_id`, which is empty where a path ends otherwise."""
    before, _, last = path.rpartition("/")
    return before, (_NAME.fullmatch(last) or _NO_NAME)[1]


@dataclass
class Findings:
    """Of one operation: answers by status, and per kind of failure how often and how to see it again."""

    label: str
    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[str, list[str]] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        return sum(map(len, self.failures.values()))


class Fuzzer:
    """`tokens`: of a user, and of an administrator. `api_key`: with every permission."""

    def __init__(self, url: str, tokens: tuple[str, str], api_key: str, number: int) -> None:
        self.url = url
        self.tokens = tokens
        self.api_key = api_key
        self.first = self.number = number
        self.session = requests.Session()
        document = self.session.get(f"{url}/openapi.json", timeout=SECONDS).json()
        # Who asks is decided here: broken credentials would hide everything behind them.
        self.schemes = {
            f"{method.upper()} {path}": [scheme for one in operation.pop("security", ()) for scheme in one]
            for path, item in document["paths"].items()
            for method, operation in item.items()
        }
        config = schemathesis.Config()
        # What is repeated needs what was sent as it was.
        config.output.sanitization.update(enabled=False)
        self.schema = schemathesis.openapi.from_dict(document, config=config)
        # By the names that paths have for them, and the name of what each path is a list of.
        self.items = {path: name for path, name in map(_split, document["paths"]) if name}
        self.known: dict[str, list[str]] = {name: [] for path in document["paths"] for name in _NAME.findall(path)}
        self.known |= {"block_id": list(BLOCKS), "version": ["1"], "graph_version": ["1"]}
        self.known |= {name: [] for name in ELSEWHERE} | {"cron": list(TIMES), "timezone": ["Europe/Berlin"]}
        self.belongings: dict[str, Belongings] = {}
        self.choices = random.Random()

    def operations(self, only: str = "") -> list[Any]:
        found = [result.ok() for result in self.schema.get_all_operations()]
        found = [one for one in found if re.search(only, one.label)]
        return sorted(found, key=lambda one: (ORDER.index(one.method.lower()), -len(one.path), one.path))

    def run(self, operation: Any, cases: int, again: int = 0) -> Findings:
        """`again` makes other cases than before. Of what takes little there are fewer cases than are wanted."""
        findings = Findings(operation.label)
        self.number = self.first + again
        self.choices.seed(f"{self.number} {operation.label}")
        for mode, share in ((GenerationMode.POSITIVE, cases - cases // 2), (GenerationMode.NEGATIVE, cases // 2)):
            if share:
                self._run(operation.as_strategy(generation_mode=mode), share, findings)
        return findings

    def _run(self, strategy: Any, cases: int, findings: Findings) -> None:
        @seed(self.number)
        @settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy, st.booleans())
        def send(case: Case, known: bool) -> None:
            # With nothing, or a slash, for an id it would be a request to another operation.
            assume(all("/" not in f"{value}" != "" for value in (case.path_parameters or {}).values()))
            if known and not ENDLESS.search(findings.label):
                self._use_known(case)
            self._check(case, findings)

        # What takes nothing can't be broken.
        with suppress(Unsatisfiable):
            send()

    def know(self, name: str, value: str) -> None:
        if value and "/" not in value and value not in self.known[name]:
            self.known[name] = [*self.known[name][1 - MOST_KNOWN :], value]

    def _use_known(self, case: Case) -> None:
        """What belongs together for one request, or anything that was ever told."""
        among = {name: self.choices.choice(values) for name, values in self.known.items() if values}
        label = case.operation.label
        if STREAM.search(label) or self.choices.random() < 0.7:
            among |= self.belongings[PROGRAM if "ApiKey" in self.schemes[label] else USER]
        for holder in (case.path_parameters, case.query, case.body):
            _put(among, holder)

    def _check(self, case: Case, findings: Findings) -> None:
        headers = self._credentials(case)
        try:
            response = case.call(self.url, session=self.session, headers=headers, timeout=SECONDS)
        except requests.RequestException as error:
            findings.statuses[0] += 1
            self._note(findings, type(error).__name__, f"{case.as_curl_command(headers=headers)}\n    {error}")
            return
        findings.statuses[response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS, headers=headers)
        except FailureGroup as group:
            for failure in group.exceptions:
                kind = f"{getattr(failure, 'title', type(failure).__name__)} ({response.status_code})"
                shown = f"{case.as_curl_command(headers=headers)}\n    {response.status_code} {response.text[:300]}"
                shown += f"\n    {failure.message}"
                self._note(findings, kind, shown)
        else:
            self._learn(case, response)

    def _note(self, findings: Findings, kind: str, shown: str) -> None:
        findings.failures.setdefault(kind, []).append(shown)

    def _credentials(self, case: Case) -> dict[str, str]:
        schemes = self.schemes[case.operation.label]
        if self.choices.random() < 0.02:
            return {}
        if "PostmarkWebhook" in schemes:
            return POSTMARK
        if "ApiKey" in schemes:
            return {"X-API-Key": self.api_key}
        admin = "/admin/" in case.operation.path or self.choices.random() < 0.1
        return {"Authorization": f"Bearer {self.tokens[admin]}"} if schemes else {}

    def _learn(self, case: Case, response: Any) -> None:
        """What an answer calls as a path does; and the `id` of what is made or listed where single ones have a path."""
        if response.status_code != 200 or not response.headers["content-type"][0].startswith("application/json"):
            return
        answer = json.loads(response.content)
        answers = answer[:MOST_KNOWN] if isinstance(answer, list) else [answer]
        answers = [one for one in answers if isinstance(one, dict)]
        answers += [member for one in answers for member in one.values() if isinstance(member, dict)]
        for one in answers:
            for member, value in one.items():
                name = self.items.get(case.operation.path) if member == "id" else member
                if name in self.known and isinstance(value, str):
                    self.know(name, value)


def _put(among: Belongings, holder: Any) -> None:
    """What is known in place of the texts and numbers of those names in `holder`, however deep."""
    if isinstance(holder, list):
        for one in holder:
            _put(among, one)
    elif isinstance(holder, dict):
        for name, value in holder.items():
            if name in among and isinstance(value, str):
                holder[name] = among[name]
            elif name in among and type(value) is int and among[name].isdecimal():
                holder[name] = int(among[name])
            elif name == "ids" and value and "graph_exec_id" in among:
                holder[name] = [among["graph_exec_id"]]
            else:
                _put(among, value)
