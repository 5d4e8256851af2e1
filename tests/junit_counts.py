"""Print "PASSED FAILED SKIPPED" of a JUnit report: what pytest and meson write alike."""

import sys
import xml.etree.ElementTree as xml


def counts(report):
    passed = failed = skipped = 0
    for case in xml.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


if __name__ == "__main__":
    print(*counts(sys.argv[1]))
