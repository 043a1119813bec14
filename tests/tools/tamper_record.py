"""Changes one figure of settled records in a database, as somebody with access to the file could: that of a group's first
record, which the others of the group are told against."""

import sqlite3, sys

db = sqlite3.connect(sys.argv[1])

# One record's bytes, without its trace, up to the figure that is changed; see packed.rs and domain::MeterRecord.
class Reader:
    def __init__(self, body, at):
        self.body, self.at = body, at
    def number(self):
        value = shift = 0
        while True:
            byte = self.body[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    def text(self):
        length = self.number()
        self.at += length
    def maybe(self, read):
        if self.number():
            read()
    def provider_cost(self):
        for _ in 'workspace project'.split():
            self.text()
        self.maybe(self.text)  # key
        self.text()  # environment
        for _ in 'started finished operation dialect stream'.split():
            self.number()
        self.text(), self.text()  # models
        self.number(), self.number()  # outcome, status
        self.maybe(self.number), self.maybe(self.text)  # fault
        self.maybe(lambda: (self.number(), self.text()))  # principal
        self.text(), self.number(), self.maybe(self.text)  # provider, fallback, tag
        for _ in range(6):  # tokens
            self.number()
        if self.number() > 2:  # their source, behind which units follow
            return 0, 0
        self.number()  # cost
        place = self.at
        return place, self.number()

for group, template in db.execute('select id, template from usage_groups').fetchall():
    place, cost = Reader(template, 0).provider_cost()
    if cost:
        changed = bytearray(template)
        changed[place] ^= 2
        db.execute('update usage_groups set template = ? where id = ?', (bytes(changed), group))
        db.commit()
        raise SystemExit
raise SystemExit('no record has a cost')
