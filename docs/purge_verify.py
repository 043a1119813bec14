"""Verifies a signed receipt of Tidegate without Tidegate: python purge_verify.py RECEIPT.json [PUBLIC_KEY_HEX]"""
import hashlib
import json
import sys

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add(a, b):
    """Adds two points of the curve in extended coordinates."""
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    return ((f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P)


def times(number, point):
    total = (0, 1, 1, 0)
    while number:
        total = add(total, point) if number & 1 else total
        point, number = add(point, point), number >> 1
    return total


def point(data):
    y = int.from_bytes(data, "little") & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * ROOT % P
    assert x * x % P == square and y < P, "it is no point of the curve"
    x = P - x if x & 1 != data[31] >> 7 else x
    return (x, y, 1, x * y % P)


BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def is_signed(key, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % Q
    left, right = times(s, BASE), add(point(r), times(k, point(key)))
    same = lambda i: (left[i] * right[2] - right[i] * left[2]) % P == 0
    return s < Q and same(0) and same(1)


def once(pairs):
    assert len(dict(pairs)) == len(pairs), "a member is there twice"
    return dict(pairs)


receipt = json.load(open(sys.argv[1], encoding="utf-8"), object_pairs_hook=once, parse_float=int)
key, signature = bytes.fromhex(receipt["public_key"]), bytes.fromhex(receipt.pop("signature"))
message = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
trusted = bytes.fromhex(sys.argv[2]) if len(sys.argv) > 2 else key
assert key == trusted and is_signed(key, message, signature), "the receipt does not hold"
print(receipt["id"], "holds:", receipt["guarantee"], "signed by", key.hex())
