"""Values as text: by declared type, exactly or not at all.

The codec decides which types and values can be stored, and makes the JSON that
payload columns hold. It must not know runs, steps or tables.
"""

from dataclasses import MISSING

from operon.codec._mapped import load_columns
from operon.codec._refusals import NotEncodable
from operon.codec._refusals import Undecodable
from operon.codec.failures import UnknownError
from operon.codec.failures import can_be_found
from operon.codec.failures import decode_error
from operon.codec.failures import encode_error
from operon.codec.failures import error_summary
from operon.codec.failures import wrap_error
from operon.codec.fields import FieldsCodec
from operon.codec.payload import PayloadCodec
from operon.codec.payload import Payloads
from operon.codec.types import TypeCodec
from operon.codec.types import type_codec
from operon.codec.types import value_codec

__all__ = [
    "MISSING",
    "FieldsCodec",
    "NotEncodable",
    "PayloadCodec",
    "Payloads",
    "TypeCodec",
    "Undecodable",
    "UnknownError",
    "can_be_found",
    "decode_error",
    "encode_error",
    "error_summary",
    "load_columns",
    "type_codec",
    "value_codec",
    "wrap_error",
]
