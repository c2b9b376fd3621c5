"""Pydantic models: written and rebuilt by their own serializer and validator.

Pydantic is never imported here: where no model class is loaded, no value can be
a model. This file must not know how the text around a model is made.
"""

import sys
from typing import Any


def is_model(cls: object) -> bool:
    """Tell whether *cls* is a class of pydantic models."""
    base = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    return base is not None and isinstance(cls, type) and issubclass(cls, base)


def dump_model(model: Any) -> str:
    """Return the JSON text of *model*, in the spelling its validator reads.

    Computed fields are left out. A value that does not fit its field is an error,
    where pydantic by itself would warn.
    """
    by_alias = bool(model.model_config.get("validate_by_alias", True))
    text: str = model.model_dump_json(
        by_alias=by_alias, round_trip=True, warnings="error"
    )
    return text


def load_model(cls: Any, text: bytes) -> Any:
    """Return the instance of *cls* that its validator makes of JSON *text*."""
    return cls.model_validate_json(text)
