"""`python -m tests.simulation SEED`: one schedule again, with its journals and what is wrong with it."""

import sys

from tests.simulation.invariants import violations
from tests.simulation.world import World


def main() -> int:
    world = World(int(sys.argv[1]))
    world.run()
    lines = [f"over at {world.now:.2f} s after {world.faults} faults"]
    for level, graph in enumerate(world.graphs):
        for node in graph.plan.nodes:
            targets = ", ".join(f"{link.selector} -> {link.sink_id}.{link.sink_name}" for link in node.links)
            lines.append(f"graph {level}, node {node.id} ({node.spec.id}): {targets}")
    for row in world.database.rows:
        lines.append(f"run {row.id} of graph {row.level} below {row.parent}: {row.status} under fence {row.fence}")
        if box := world.database.mailboxes.get(row.id):
            lines += [f"       letter {number}: {letter}" for number, letter in enumerate(box.letters, 1)]
        for segment in world.database.segments(row.id):
            lines += [f"  {segment.seq:>4} fence {segment.fence}: {message}" for message in segment.messages]
    found = violations(world)
    lines += [f"VIOLATION {problem}" for problem in found] or ["no violations"]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
