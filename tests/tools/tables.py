"""Shows a database as its owner can read it. Each line of JSON that is sent is answered by one: "tables" by a hash of every table and
the number of entries of the audit log, {"audit_after": N} by all entries after the first N.

What changes by itself is left out: when something was seen, the books, and who tried to get in, for guesses count in a rehearsal too.
"""

import hashlib, json, sqlite3, sys, time

db = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, isolation_level=None)
db.row_factory = sqlite3.Row
# What an earlier write set going is let come to its end, such as a delivery or a step of a flow.
going = """SELECT (SELECT COUNT(*) FROM jobs WHERE every_ms IS NULL AND state IN ('waiting', 'ready', 'running') AND run_unix_ms <= ?)
             + (SELECT COUNT(*) FROM flow_runs WHERE state IN ('queued', 'running'))"""
own_pace = {'last_seen_unix_ms', 'used_unix_ms', 'reachable', 'learned_models', 'last_error'}
books = {'credential_openings', 'journal_positions', 'journal_epochs', 'record_batches', 'usage_groups', 'usage_minutes',
         'rolled_days', 'replica_lives', 'sign_in_tries', 'node_hours'}
# Which gateways live, and what comes again and again.
by_itself = {'meta': lambda row: row['name'].startswith('holder.'), 'jobs': lambda row: row['every_ms'] is not None}


def tables():
    give_up = time.monotonic() + 10
    while db.execute(going, (time.time() * 1000,)).fetchone()[0] and time.monotonic() < give_up:
        time.sleep(0.02)
    hashes = {}
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        if table in books:
            continue
        volatile = own_pace if table in ('nodes', 'sign_ins') else set()
        moves = by_itself.get(table, lambda row: False)
        rows = [[(name, row[name]) for name in row.keys() if name not in volatile]
                for row in db.execute(f'SELECT * FROM "{table}"') if not moves(row)]
        hashes[table] = hashlib.sha256('\n'.join(sorted(map(repr, rows))).encode()).hexdigest()
    return {'tables': hashes, 'audited': db.execute('SELECT COUNT(*) FROM audit').fetchone()[0]}


def audit(after):
    rows = db.execute('SELECT * FROM audit ORDER BY id LIMIT -1 OFFSET ?', (after,))
    return [{name: value.hex() if isinstance(value, bytes) else value for name, value in dict(row).items()} for row in rows]


for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps(tables() if question == 'tables' else audit(question['audit_after'])), flush=True)
