"""Writes a workspace's audit anew so that it holds by itself, as somebody with the database could.

    rewrite_audit.py DATABASE PLACE ACTOR   entry PLACE was done by ACTOR
    rewrite_audit.py DATABASE cut COUNT     the last COUNT entries never were
"""

import hashlib
import json
import sqlite3
import sys
import uuid

database = sqlite3.connect(sys.argv[1])
database.row_factory = sqlite3.Row
row = database.execute("SELECT chain, length FROM audit_chains ORDER BY length DESC LIMIT 1").fetchone()
chain, length = row["chain"], row["length"]
name = "ws_" + uuid.UUID(bytes=chain).hex

if sys.argv[2] == "cut":
    length -= int(sys.argv[3])
    database.execute("DELETE FROM audit WHERE chain = ? AND sequence > ?", (chain, length))
else:
    changed = (sys.argv[3], chain, int(sys.argv[2]))
    database.execute("UPDATE audit SET actor = ? WHERE chain = ? AND sequence = ?", changed)


def written(prefix, value):
    return None if value is None else prefix + uuid.UUID(bytes=value).hex


def digest(value):
    return None if value is None else value.hex()


end = bytes(32)
for row in database.execute("SELECT * FROM audit WHERE chain = ? ORDER BY sequence", (chain,)).fetchall():
    entry = ["tidegate audit 1", name, row["sequence"], written("aud_", row["id"]), row["unix_ms"], row["actor"]]
    entry += [row["action"], row["object"], row["detail"], written("trc_", row["trace"])]
    entry += [digest(row["before_digest"]), digest(row["after_digest"])]
    text = json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode()
    before, end = end, hashlib.sha256(end + text).digest()
    if sys.argv[2] == "cut" or row["sequence"] < int(sys.argv[2]):
        # Else the forger would write another form than we do, and every entry would be another.
        assert end == row["hash"], f"entry {row['sequence']} is hashed otherwise"
    database.execute("UPDATE audit SET hash = ? WHERE chain = ? AND sequence = ?", (end, chain, row["sequence"]))
database.execute("UPDATE audit_chains SET length = ?, hash = ? WHERE chain = ?", (length, end, chain))
database.commit()
