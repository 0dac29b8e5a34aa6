"""Model files opened as data: archives, HDF5 and JSON, each checked before anything in it is used."""

from attnscope.loading.container._json_documents import parsed
from attnscope.loading.container._stored_model import CONFIG, StoredModel, opened
from attnscope.loading.container._wrong_file_kinds import check_kind

__all__ = ["CONFIG", "StoredModel", "check_kind", "opened", "parsed"]
