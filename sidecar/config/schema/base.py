"""What every section of the file is made of: names, amounts, addresses."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", max_length=200)]


def _a_real_port(address: str) -> str:
    if not address.startswith("unix:") and int(address.rpartition(":")[2]) > 65_535:
        raise ValueError("the port is over 65535")
    return address


Listen = Annotated[
    str,
    Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$"),
    AfterValidator(_a_real_port),
]
# also a Unix socket: a path of at most 107 bytes, which is what the system allows
ListenOrSocket = Annotated[
    str,
    Field(pattern=r"^(unix:/[^\x00\s]{1,106}|(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5})$"),
    AfterValidator(_a_real_port),
]
BaseUrl = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
