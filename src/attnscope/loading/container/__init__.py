"""Model files opened as data: archives, HDF5 and JSON, each checked before anything in it is used."""

from attnscope.loading.container._archives import CONFIG
from attnscope.loading.container._json_documents import parsed
from attnscope.loading.container._opened import opened
from attnscope.loading.container._stored_model import StoredModel
from attnscope.loading.container._wrong_file_kinds import check_kind

__all__ = ["CONFIG", "StoredModel", "check_kind", "opened", "parsed"]
