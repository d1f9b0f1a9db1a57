"""The schema of ``python -m alexnet_repro.doctor``."""

from pydantic import Field

from alexnet_repro.schema.base import Schema


class DoctorSchema(Schema):
    """Every key of ``conf/doctor.yaml``."""

    cache_dir: str
    as_json: bool = Field(alias="json")
