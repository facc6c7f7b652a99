"""What a run says of itself: its memo, for people, and its search attributes, by which it is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from durable.common import SearchAttributeUpdate
from durable.converter import DataConverter
from durable.history import (
    Payload,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionStarted,
    WorkflowPropertiesModified,
    modified_memo,
)
from durable.history._search_attributes import encode_search_attribute_updates, merge_search_attributes


class Found:
    """See the module.

    Attributes:
        memo: The memo, as the code has left it.
        attributes: The search attributes, likewise.
    """

    __slots__ = ("attributes", "memo")

    def __init__(self, started: WorkflowExecutionStarted) -> None:
        self.memo: Mapping[str, Payload] = started.memo
        self.attributes: Mapping[str, Payload] = started.search_attributes

    def upsert(
        self, id: int, updates: Sequence[SearchAttributeUpdate[Any]]
    ) -> UpsertWorkflowSearchAttributes:
        """Change search attributes, and return the command for it.

        Raises:
            ValueError: There are too many then, or they are too large together.
        """
        encoded = encode_search_attribute_updates(updates)
        self.attributes = merge_search_attributes(self.attributes, encoded)
        return UpsertWorkflowSearchAttributes(id=id, search_attributes=encoded)

    def modify(
        self, id: int, updates: Mapping[str, Any], converter: DataConverter
    ) -> WorkflowPropertiesModified:
        """Change the memo, and return the command for it; None removes an entry.

        Raises:
            ConversionError: A value cannot be stored.
        """
        command = WorkflowPropertiesModified(
            id=id,
            memo={
                key: converter.to_payload(value, path=f"memo {key}")
                for key, value in updates.items()
                if value is not None
            },
            removed=tuple(key for key, value in updates.items() if value is None),
        )
        self.memo = modified_memo(self.memo, command)
        return command
