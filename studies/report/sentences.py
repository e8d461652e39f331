"""What a study found, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any


def validation_lines(facts: Mapping[str, Any]) -> list[str]:
    """Paired differences, places and compute multipliers of a validation."""
    lines = paired_lines(facts["paired"])
    for row in facts["paired_accuracy"]:
        lines.append(
            f"  {row['arm']:<14}{row['task'] + ' (accuracy)':<28}"
            f"{row['mean']:+.4f}  [{row['low']:+.4f}, {row['high']:+.4f}]  n={row['n']}"
        )
    return [*lines, *remark_lines(facts)]


def remark_lines(facts: Mapping[str, Any]) -> list[str]:
    """What arms hold where they differ, places, ties shared, compute multipliers, and losses of text by its bytes."""
    places = held_lines(facts) + [
        f"places, {task}: " + ", ".join(f"{place['rank']} {place['arm']}" for place in of_task)
        for task, of_task in facts["standings"].items()
    ]
    places += [f"compute multiplier, {row['arm']}, {row['task']}: {_multiplier(row)}" for row in facts["multipliers"]]
    return places + [
        f"bits per byte, {task}: "
        + ", ".join(f"{arm} {of_arm[task]['mean']:.4f}" for arm, of_arm in by_arm.items() if task in of_arm)
        for by_arm in [facts.get("bits_per_byte", {})]
        for task in dict.fromkeys(task for of_arm in by_arm.values() for task in of_arm)
    ]


def held_lines(facts: Mapping[str, Any]) -> list[str]:
    """By how much arms differ in what they hold, if they do: each is trained on the same amount all the same."""
    held = facts["held"]
    smallest = min(held, key=lambda arm: held[arm]["smallest"])
    largest = max(held, key=lambda arm: held[arm]["largest"])
    low, high = held[smallest]["smallest"], held[largest]["largest"]
    if low == high == facts["budget"]:
        return []
    return [
        f"arms hold {low:,} ({smallest}) to {high:,} ({largest}) {facts['unit']}; an epoch of every arm is "
        f"{facts['budget']:,}"
    ]


def _multiplier(row: Mapping[str, Any]) -> str:
    if "alone" not in row:
        return "none, more random data did not lower the loss"
    parts = [
        f"{row[key]['mean']:.2f} [{row[key]['low']:.2f}, {row[key]['high']:.2f}] {words}"
        for key, words in (("alone", "without the cost of selecting"), ("with_cost", "with it"))
        if row[key] is not None
    ]
    return ", ".join(parts) + (" (beyond the budgets tried)" if row["beyond"] else "")


def paired_lines(paired: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each arm's held-out loss minus the baseline's, a line a task."""
    lines = [
        "held-out loss minus that of random data of the same size (95 % interval, paired seeds; negative is better)"
    ]
    for row in paired:
        side = " (off target)" if row["off_target"] else ""
        lines.append(
            f"  {row['arm']:<14}{row['task'] + side:<28}"
            f"{row['mean']:+.4f}  [{row['low']:+.4f}, {row['high']:+.4f}]  n={row['n']}"
        )
    return lines
