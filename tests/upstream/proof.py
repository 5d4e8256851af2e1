"""What the runners of other projects' tests have in common: the run proves itself. A test counts as
passed only if zolal's calls are in the recording during it."""

import collections
import faulthandler
import json
import unittest

HANGS_AFTER_S = 120


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def name_of(test):
    """ "module.Class.test_method"; of what is no method (setUpClass) what unittest calls it."""
    method = getattr(test, "_testMethodName", None)
    cls = type(test)
    return f"{cls.__module__}.{cls.__qualname__}.{method}" if method else str(test)


class Result(unittest.TestResult):
    """What became of each test: name -> (outcome, why). `kinds`: of events that prove a call;
    `hangs_after`: so many seconds, which end the process."""

    def __init__(self, reader, kinds, hangs_after=HANGS_AFTER_S):
        super().__init__()
        self.reader, self.kinds, self.hangs_after = reader, kinds, hangs_after
        self.outcomes, self.calls = {}, {}

    def drain(self):
        """How many of zolal's calls there have been since the last time."""
        count = 0
        while events := self.reader.read():
            count += sum(event.kind in self.kinds for event in events)
        return count

    def startTest(self, test):
        super().startTest(test)
        faulthandler.dump_traceback_later(self.hangs_after, exit=True)

    def stopTest(self, test):
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        name = name_of(test)
        self.calls[name] = self.drain()
        self.outcomes.setdefault(name, ("passed", ""))
        if self.outcomes[name][0] == "passed" and not self.calls[name]:
            self.outcomes[name] = self.without_a_call(name)

    def without_a_call(self, name):
        """The outcome of a test that has succeeded without zolal."""
        return ("failed", "no call of zolal is in the recording")

    def fail(self, test, failure):
        if self.failfast:
            self.stop()
        self.outcomes[name_of(test)] = ("failed", self._exc_info_to_string(failure, test))

    def addError(self, test, err):
        self.fail(test, err)

    def addFailure(self, test, err):
        self.fail(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.fail(test, err)

    def addUnexpectedSuccess(self, test):
        self.outcomes[name_of(test)] = ("failed", "unexpected success")

    def addSkip(self, test, reason):
        self.outcomes.setdefault(name_of(test), ("skipped", reason))


def reason_for(name, table):
    """What the table says of a test, by its name or the end of it, or by its class's."""
    for key, reason in table.items():
        if f".{name}".endswith(f".{key}") or f".{name.rpartition('.')[0]}".endswith(f".{key}"):
            return reason
    return None


def settle(result, table):
    """What is known to differ becomes expected; if it passes, that is a failure: the list must stay
    true."""
    for name, (outcome, _) in list(result.outcomes.items()):
        reason = reason_for(name, table)
        if reason and outcome != "skipped":
            expected = outcome == "failed"
            result.outcomes[name] = (
                ("expected", reason) if expected else ("failed", "passes, but is listed")
            )


def report(result, apart, columns, json_file):
    """Print what failed and a row a class; write all of it to the file, if one is named. Returns
    the exit status: 0 when all passed."""
    rows = collections.defaultdict(collections.Counter)
    for name, (outcome, why) in result.outcomes.items():
        rows[name.rpartition(".")[0]][outcome] += 1
        rows["all"][outcome] += 1
        if outcome == "failed":
            print(f"FAILED {name}\n    " + why.strip().replace("\n", "\n    "))
    print(f"{'class':64}" + "".join(f"{column:>10}" for column in columns))
    for name, row in [*(one for one in rows.items() if one[0] != "all"), ("all", rows["all"])]:
        print(f"{name:64}" + "".join(f"{row[column]:10}" for column in columns))
    print(f"{len(apart)} do not apply, each for a reason that is listed")
    if json_file:
        with open(json_file, "w") as file:
            outcomes = {name: list(outcome) for name, outcome in result.outcomes.items()}
            json.dump({"outcomes": outcomes, "calls": result.calls, "apart": apart}, file)
    return 1 if rows["all"]["failed"] or not rows["all"]["passed"] else 0
