#!/usr/bin/env python3
"""Verifies the vectors of FORMAT.md with Python's own library and ssh-keygen, and nothing else.

It was written from the page, not from the code: it is what a stranger's verifier could be.
Usage: check.py FOLDER. Exits 1 at the first thing that does not verify.
"""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def must(kept, what):
    if not kept:
        sys.exit(f"does not verify: {what}")


def read(path):
    return (ROOT / path).read_bytes()


# Merkle trees, RFC 6962: by the definition in section 2.1, never by a proof.
def leaf_hash(data):
    return sha(b"\x00", data)


def node_hash(left, right):
    return sha(b"\x01", left, right)


def tree_root(leaves):
    if not leaves:
        return sha()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(tree_root(leaves[:k]), tree_root(leaves[k:]))


def root_of_path(leaf, index, size, path):
    """The root that an audit path leads to (RFC 6962, 2.1.1), by recursion from the top."""
    if size == 1:
        must(not path, "a proof has hashes to spare")
        return leaf
    must(path, "a proof is too short")
    k = 1
    while k * 2 < size:
        k *= 2
    if index < k:
        return node_hash(root_of_path(leaf, index, k, path[:-1]), path[-1])
    return node_hash(path[-1], root_of_path(leaf, index - k, size - k, path[:-1]))


def subproof(old, leaves, whole):
    """SUBPROOF(m, D[n], b) of RFC 6962, 2.1.2."""
    if old == len(leaves):
        return [] if whole else [tree_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if old <= k:
        return subproof(old, leaves[:k], whole) + [tree_root(leaves[k:])]
    return subproof(old - k, leaves[k:], False) + [tree_root(leaves[:k])]


def commitment(r, field, value):
    message = b"holdfast/commit/v1\x00" + field.encode() + b"\x00" + value
    return hmac.new(r, message, hashlib.sha256).hexdigest()


def canonical(value):
    """RFC 8785 for what the profile allows: no floats, ASCII keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def check_commitments():
    for opening in json.loads(read("commitments.json")):
        found = commitment(
            bytes.fromhex(opening["r"]), opening["field"], base64.b64decode(opening["value"])
        )
        must(found == opening["commitment"], f"commitment {opening['field']}")
    first = json.loads(read("commitments.json"))[0]["commitment"]
    stored = pathlib.Path(__file__).parent / "commitment.txt"
    must(not stored.exists() or first == stored.read_text().strip(), "commitment.txt")


KINDS = ["file", "folder", "symlink", "fifo", "socket", "block-device", "char-device", "mount",
         "unknown"]
STATUSES = ["read", "changed", "unreadable", "not-opened"]


def metadata(row):
    out = bytes([KINDS.index(row["kind"]) + 1])
    out += struct.pack(">Qqq", row["size"], row["mtime_ns"], row["ctime_ns"])
    out += struct.pack(">III", row["mode"], row["uid"], row["gid"])
    out += struct.pack(">QQQ", row["nlink"], row["inode"], row["holes"])
    out += bytes([STATUSES.index(row["status"]) + 1])
    reason = row["reason"].encode() if row["reason"] is not None else None
    for part in (row["target"], row["xattrs"], reason):
        out += b"\x00" if part is None else b"\x01" + struct.pack(">I", len(part)) + bytes(part)
    return out


def row_leaf(row, salt_row):
    values = (bytes(row["path"]), bytes.fromhex(row["sha256"] or ""), metadata(row))
    leaf = b"\x01"
    for f, value in enumerate(values, 1):
        salt = sha(bytes([2, f]), salt_row)
        leaf += sha(bytes([3, f]), salt, value)
    return leaf_hash(leaf)


def check_manifest():
    vector = json.loads(read("manifest.json"))
    key, leaves = bytes.fromhex(vector["key"]), []
    for index, shown in enumerate(vector["rows"]):
        row = shown["row"]
        must(row["index"] == index, "a row's index")
        salt_row = hmac.new(key, struct.pack(">Q", index), hashlib.sha256).digest()
        must(salt_row.hex() == shown["salt_row"], f"salt of row {index}")
        for f, name in enumerate(("path", "content", "metadata"), 1):
            field = shown[name]
            salt, value = bytes.fromhex(field["salt"]), bytes.fromhex(field["value"])
            must(salt == sha(bytes([2, f]), salt_row), f"salt of {name} in row {index}")
            found = sha(bytes([3, f]), salt, value).hex()
            must(found == field["commitment"], f"{name} of row {index}")
        must(bytes.fromhex(shown["metadata"]["value"]) == metadata(row), f"metadata {index}")
        leaves.append(row_leaf(row, salt_row))
        must(leaves[-1].hex() == shown["leaf_hash"], f"leaf {index}")
    must(tree_root(leaves).hex() == vector["root"], "the manifest's root")
    field = json.loads(read("shown-field.json"))
    own = sha(bytes([3, field["field"]]), bytes.fromhex(field["salt"]),
              bytes.fromhex(field["value"]))
    parts = [bytes.fromhex(other) for other in field["others"]]
    parts.insert(field["field"] - 1, own)
    must(leaf_hash(b"\x01" + b"".join(parts)).hex() == field["leaf_hash"], "a shown field")
    must(bytes.fromhex(field["leaf_hash"]) == leaves[1], "a shown field's leaf")
    return vector["root"], len(leaves)


def check_row(shown, rows, root, what):
    leaf = row_leaf(shown["row"], bytes.fromhex(shown["salt_row"]))
    path = [bytes.fromhex(hash) for hash in shown["proof"]]
    must(root_of_path(leaf, shown["row"]["index"], rows, path).hex() == root, what)


def check_parcel(root, rows):
    head = json.loads(read("parcel/parcel.json"))
    lines = read("parcel/rows.jsonl").decode().splitlines()
    must(head["format"] == "holdfast-parcel/1" and head["rows"] == len(lines), "parcel.json")
    for line in map(json.loads, lines):
        must(line["root"] == root and line["rows"] == rows, "a parcel's row")
        check_row(line["shown"], rows, root, "a parcel's row")


def check_vkey(vkey):
    name, key_id, body = vkey.strip().split("+", 2)
    found = sha(name.encode(), b"\n", base64.b64decode(body))[:4]
    must(found.hex() == key_id, "a verifier key's id")
    return name, found


def note(text):
    """Text and signature lines of a signed note, by name and key id."""
    body, lines = text.rsplit("\n\n", 1)
    signatures = {}
    for line in lines.splitlines():
        dash, name, blob = line.split(" ")
        blob = base64.b64decode(blob, validate=True)
        must(dash == "\u2014", "a signature line")
        signatures[name, blob[:4]] = blob[4:]
    return body + "\n", signatures


def ed25519_verifies(key, message, signature):
    """By openssl, where it is there; the tests of the notes verify them in any case."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        der = bytes.fromhex("302a300506032b6570032100") + key
        (folder / "key").write_bytes(der)
        (folder / "message").write_bytes(message)
        (folder / "signature").write_bytes(signature)
        command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER",
                   "-inkey", folder / "key", "-in", folder / "message",
                   "-sigfile", folder / "signature"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return True


def check_checkpoint(text, policy):
    body, signatures = note(text)
    origin, size, root, end = body.split("\n")
    must(end == "" and str(int(size)) == size, "the checkpoint's lines")
    for line in policy.splitlines():
        words = line.split()
        if words[0] not in ("log", "witness"):
            continue
        vkey = words[1] if words[0] == "log" else words[2]
        name, key_id = check_vkey(vkey)
        kind, key = (lambda b: (b[0], b[1:]))(base64.b64decode(vkey.split("+", 2)[2]))
        signature, message = signatures[name, key_id], body.encode()
        if kind == 4:
            (time,) = struct.unpack(">Q", signature[:8])
            message = f"cosignature/v1\ntime {time}\n".encode() + message
            signature = signature[8:]
        else:
            must(kind == 1 and name == origin, "the log's key is its origin's")
        must(ed25519_verifies(key, message, signature), f"the signature of {name}")
    return origin, int(size), base64.b64decode(root)


def check_proof(text, entry, checkpoint):
    head, signed = text.split("\n\n", 1)
    first, index, *hashes = head.split("\n")
    must(first == "c2sp.org/tlog-proof@v1" and index.startswith("index "), "a tlog-proof")
    must(signed == checkpoint, "a proof's checkpoint")
    _, size, root = note(signed)[0].rstrip("\n").split("\n")
    index = int(index.removeprefix("index "))
    path = [base64.b64decode(hash) for hash in hashes]
    found = root_of_path(leaf_hash(entry), index, int(size), path)
    must(found == base64.b64decode(root), f"the proof of entry {index}")
    return index


class People:
    """Whose key signs what: gathered from the entries themselves, in order."""

    def __init__(self):
        self.keys = {}
        self.chains = {}

    def take(self, raw, index, folder):
        entry = json.loads(raw)
        must(canonical(entry) == raw, f"entry {index} is canonical")
        must(sorted(entry) == ["signature", "statement"], f"entry {index}")
        text = entry["statement"].encode()
        statement = json.loads(text)
        must(canonical(statement) == text, f"statement {index} is canonical")
        kind, body, author = statement["kind"], statement["body"], statement["author"]
        if kind == "log.opened":
            must(index == 0, "a log is opened by its first entry")
            self.keys["coordinator"] = body["coordinator"]
            self.keys[body["person"]] = body["key"]
        if author == "coordinator":
            who, namespace = "coordinator", "coordinator@holdfast"
        elif "agent" in author:
            who, namespace = author["agent"], "agent@holdfast"
            self.follow(who, statement["link"], raw, index)
        else:
            vote = kind in ("request.approve", "request.reject")
            who, namespace = author["person"], f"{'approval' if vote else 'command'}@holdfast"
        self.verify(self.keys[who], namespace, text, entry["signature"], index, folder)
        if kind == "person.add":
            self.keys[body["person"]] = body["key"]
        if kind == "agent.enrolled":
            self.keys[body["agent"]] = body["key"]
            self.chains[body["agent"]] = (body["epoch"], 0, sha().hex())
        return statement

    def follow(self, agent, link, raw, index):
        if agent in self.chains:
            place = (link["epoch"], link["seq"], link["prev"])
            must(place == self.chains[agent], f"entry {index} follows in its agent's chain")
            self.chains[agent] = (link["epoch"], link["seq"] + 1, sha(raw).hex())

    def verify(self, key, namespace, text, signature, index, folder):
        lines = "\n".join(signature[at : at + 70] for at in range(0, len(signature), 70))
        armor = f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"
        (folder / "signers").write_text(f"author {key}\n")
        (folder / "signature").write_text(armor)
        command = ["ssh-keygen", "-Y", "verify", "-f", folder / "signers", "-I", "author",
                   "-n", namespace, "-s", folder / "signature"]
        run = subprocess.run(command, input=text, capture_output=True, check=False)
        must(run.returncode == 0, f"the signature of entry {index}")


def check_log(checkpoint, folder):
    origin, size, root = check_checkpoint(checkpoint, read("policy").decode())
    must(size < 256, "the vectors' log fits one tile")
    bundle, entries = read(f"log/tile/entries/000.p/{size}"), []
    while bundle:
        (length,) = struct.unpack(">H", bundle[:2])
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    leaves = [leaf_hash(entry) for entry in entries]
    must(len(entries) == size, "the log's size")
    must(b"".join(leaves) == read(f"log/tile/0/000.p/{size}"), "the log's tile")
    must(tree_root(leaves) == root, "the log's root")
    people, ids = People(), set()
    for index, raw in enumerate(entries):
        statement = people.take(raw, index, folder)
        must(statement["log"] == origin and statement["v"] == 1, f"entry {index}")
        must(statement["id"] not in ids, f"the id of entry {index} is its own")
        ids.add(statement["id"])
    vector = json.loads(read("consistency.json"))
    must(vector["new"] == size and vector["new_root"] == root.hex(), "consistency: new")
    must(tree_root(leaves[: vector["old"]]).hex() == vector["old_root"], "consistency: old")
    proof = [hash.hex() for hash in subproof(vector["old"], leaves, True)]
    must(proof == vector["proof"], "consistency: the proof")
    return entries


def check_snapshot(checkpoint, entries):
    card, raw = json.loads(read("snapshot/snapshot.json")), read("snapshot/sealed.entry")
    index = check_proof(read("snapshot/sealed.tlog-proof").decode(), raw, checkpoint)
    must(entries[index] == raw, "the sealed entry")
    body = json.loads(json.loads(raw)["statement"])["body"]
    for name in ("snapshot", "root", "rows", "bytes", "unreadable", "manifest"):
        must(body[name] == card[name], f"snapshot.json: {name}")
    must(sha(read("snapshot/manifest.parquet")).hex() == card["manifest"], "manifest.parquet")
    must(read("snapshot/log.vkey") == read("log.vkey"), "the snapshot's log.vkey")
    must(read("snapshot/salt-key").decode().strip() == json.loads(read("manifest.json"))["key"],
         "the salt key")
    return card["root"], card["rows"]


def check_receipt(checkpoint, entries, folder):
    receipt = json.loads(read("receipt.json"))
    must(receipt["format"] == "holdfast-receipt/1", "the receipt's format")
    must(receipt["checkpoint"] == checkpoint, "the receipt's checkpoint")
    must(receipt["vkey"] == read("log.vkey").decode().strip(), "the receipt's key")
    said, people = {}, People()
    for shown in receipt["entries"]:
        raw = shown["entry"].encode()
        must(check_proof(shown["proof"], raw, checkpoint) == shown["index"], "a receipt's index")
        must(entries[shown["index"]] == raw, "a receipt's entry")
        people.chains = {}
        statement = people.take(raw, shown["index"], folder)
        said.setdefault(statement["kind"], []).append((shown["index"], statement))
    (_, request), = said["request.make"]
    (done, executed), = said["request.executed"]
    voters = {vote["author"]["person"] for _, vote in said["request.approve"]}
    must(len(voters) >= 2 and request["author"]["person"] not in voters, "who approved")
    for index, vote in said["request.approve"]:
        must(vote["body"]["act"] == request["body"]["act"], "what was approved")
        must(index < executed["body"]["checkpoint"] <= done, "the votes are covered")
    for opening in receipt["openings"]:
        found = commitment(
            bytes.fromhex(opening["r"]), opening["field"], base64.b64decode(opening["value"])
        )
        must(found == opening["commitment"], "the receipt's opening")
        must(found == said["claim.file"][0][1]["body"]["recipient"], "the owner's key")


def main():
    check_commitments()
    root, rows = check_manifest()
    check_parcel(root, rows)
    checkpoint = read("log/checkpoint").decode()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        entries = check_log(checkpoint, folder)
        must(check_snapshot(checkpoint, entries) == (root, rows), "the snapshot is the manifest")
        check_receipt(checkpoint, entries, folder)
    print(f"every vector verifies: {len(entries)} entries, {rows} rows")


main()
