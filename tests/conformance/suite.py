"""The one conformance suite: what every store must do. A store's test module inherits it and supplies a fixture.

    from tests.conformance.suite import ConformanceSuite

    @pytest.fixture
    def store_url(tmp_path: Path) -> str: ...

    class TestTheStore(ConformanceSuite):
        pass

The contract of the fixtures:

`store_url`
    Function-scoped. The URL of an empty place in the datastore (a database, a file, a key prefix) that this test has
    to itself. Other processes of this machine reach the same place by it.

`new_store` (has a default in conftest.py)
    A callable `new_store(clock=…, token_retention_ms=…)` that makes another store on that same place, not yet open;
    the suite opens and closes it. A module overrides it only where a URL does not lead to the same place twice.

Expectations are literals. Rules that a store cannot be held to are left out by `reasons.requires`, and nothing else.
A store that is reached over TCP inherits `FaultSuite` of `faults.py` as well.
"""

from __future__ import annotations

from tests.conformance.capabilities import CapabilityRules
from tests.conformance.facade import FacadeRules
from tests.conformance.facade_tokens import FacadeTokenRules
from tests.conformance.names import NameRules
from tests.conformance.records import RecordRules
from tests.conformance.steps import StepRules
from tests.conformance.tokens import TokenRules


class ConformanceSuite(StepRules, RecordRules, TokenRules, NameRules, CapabilityRules, FacadeRules, FacadeTokenRules):
    """Every rule that holds for every store."""
