"""Stores on disk: plain Zarr version 3 that is, at every instant, what its manifest says.

**The manifest** is the root's ``zarr.json``. It holds the metadata of every array (Zarr's "consolidated metadata"), so
one file says how many samples each array has, and a reader learns of no chunk that the manifest does not name. It is
replaced by one atomic rename, always after the chunks that it newly names. `xarray.open_zarr` and
`xarray.open_datatree` read it without attnscope. The ``zarr.json`` of a single group or array repeats its part; while a
run writes, it says what was true at an earlier time: fewer samples.

**Shards.** An array along ``sample`` is cut into shards of the same number of samples for all arrays of a store. A
shard holds inner chunks, each compressed and with a CRC-32C, and an index with another: one head of one sample is one
inner chunk where that is large. A shard is written under another name and renamed. Arrays without samples are one
chunk.

**The last shard** may be incomplete, and is written anew with more samples later. Before it is replaced, the manifest
names the checksums of the new one beside those of the old one, and either is then what the manifest says: both begin
with the same samples.

**Checksums.** A CRC-32C in a chunk shows that the chunk is damaged, but not that it is in another chunk's place. So
``checksums/crc32c`` repeats the CRC-32C of every inner chunk, one row per shard; the manifest repeats that of each row,
and its own seal covers the manifest. Whatever attnscope reads is compared with them, and a missing chunk is an error.
They find damage; they are no signature.

**Power.** A commit writes new chunks to the disk (``fsync``), then the manifest. A process that is killed loses what it
captured since the last commit, and so does a machine that loses its power.

**Several processes** may compute a run. Each writes whole shards, and tells what it wrote to the one process that holds
the lock, which alone writes the manifest. Shards of a process that ended are in no manifest, and written again.

**One writer.** A writer holds a lock of the operating system on ``attnscope.lock``, which ends with the process,
however it ends. On NFS it holds between machines if the server supports locks (version 4 does).

**Names.** A site is one group ``sites/<name>``, with ``/`` written as ``.``, and what file systems do not take as in a
URL (``%23``). Nothing depends on it: the attribute ``site`` is the name.
"""

from attnscope.stores._assembly import Assembly
from attnscope.stores._background import Background
from attnscope.stores._beginning import holds_nothing, new_store, run_folder
from attnscope.stores._codes import (
    BYTES,
    CODES,
    EXACT,
    FEWEST_STEPS,
    HALF,
    LARGEST,
    MOST_STEPS,
    SCALE,
    UNFIT,
    check_codes,
    coded_scores,
    marked,
)
from attnscope.stores._files import FORMAT, HOLDS, LOCK, MANIFEST
from attnscope.stores._lock import check_holder, holder_of, locked
from attnscope.stores._manifest import Manifest, attributes_of_store, holds_maps, read_manifest
from attnscope.stores._names import names_of_nodes, node_name, original_name
from attnscope.stores._opening import as_damage, open_groups, open_without_checksums
from attnscope.stores._shard_writer import ShardWriter, WrittenShard
from attnscope.stores._verify import Verification, verify
from attnscope.stores._writer import StoreWriter, attributes_of, begun, part_of_samples, write_groups

__all__ = [
    "BYTES",
    "CODES",
    "EXACT",
    "FEWEST_STEPS",
    "FORMAT",
    "HALF",
    "HOLDS",
    "LARGEST",
    "LOCK",
    "MANIFEST",
    "MOST_STEPS",
    "SCALE",
    "UNFIT",
    "Assembly",
    "Background",
    "Manifest",
    "ShardWriter",
    "StoreWriter",
    "Verification",
    "WrittenShard",
    "as_damage",
    "attributes_of",
    "attributes_of_store",
    "begun",
    "check_codes",
    "check_holder",
    "coded_scores",
    "holder_of",
    "holds_maps",
    "holds_nothing",
    "locked",
    "marked",
    "names_of_nodes",
    "new_store",
    "node_name",
    "open_groups",
    "open_without_checksums",
    "original_name",
    "part_of_samples",
    "read_manifest",
    "run_folder",
    "verify",
    "write_groups",
]
