"""Reads metrics as Prometheus does: text of version 0.0.4 on the standard input, by the parser of prometheus_client.

    metrics.py

writes what it has read as one line of JSON: for each metric its kind, its help, and its samples.
"""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families


def main():
    metrics = {}
    for family in text_string_to_metric_families(sys.stdin.read()):
        assert family.name not in metrics, f"{family.name} is there twice"
        metrics[family.name] = {
            "kind": family.type,
            "help": family.documentation,
            "samples": [
                {"name": sample.name, "labels": sample.labels, "value": sample.value} for sample in family.samples
            ],
        }
    json.dump(metrics, sys.stdout)
    print()


if __name__ == "__main__":
    main()
