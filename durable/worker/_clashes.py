"""Search attributes that workflow code sets to a value of another type than their name has: kept, shown, and not found.

The code cannot be told: what the database knows is no matter of its history. So the log says it, once for each run and name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from durable.common import SearchAttributeIndexedValueType
from durable.history import Payload
from durable.history._search_attributes import decode_search_attributes
from durable.worker._home import Home

logger = logging.getLogger("durable.worker")

CLASH = (
    "workflow %s sets search attribute %r to a value of type %s, and in this database it is of type %s: the value is kept and "
    "shown, but no list filter finds the workflow by it. Choose another name, or a value of that type"
)
"""What the log says of such an attribute."""


async def warn_of_clashes(
    home: Home, workflow_id: str, changes: Iterable[Mapping[str, Payload]], told: set[str]
) -> None:
    """Log which attributes of these changes are of another type than their names have, but for those in `told`."""
    wanted = {
        key.name: int(key.indexed_value_type)
        for attributes in changes
        for key, _ in decode_search_attributes(attributes)
    }
    known = await home.patiently(lambda: home.store.attribute_types(wanted))
    for name, kind in wanted.items():
        there = known.get(name, kind)
        if there != kind and name not in told:
            told.add(name)
            labels = [SearchAttributeIndexedValueType(one).label for one in (kind, there)]
            logger.warning(CLASH, workflow_id, name, *labels)
