// Identities, the Merkle tree, checkpoints and single headers (docs/protocol.md, docs/protocol-feeds.md; RFC 6962, RFC 9162).
import { createHash, createPublicKey, verify } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'

export const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
export const leafHash = header => sha256('\0', header)
export const nodeHash = (left, right) => sha256('\x01', left, right)
export const bodyHash = (salt, body) => sha256('chorus-hap body v1\n', salt, body).toString('hex')

export function check (holds, sentence) {
  if (!holds) throw new Error(sentence)
}

export function publicKey (peerId) {
  const raw = Buffer.from(base58btc.baseDecode(peerId))
  check(raw.length === 38 && raw.subarray(0, 6).toString('hex') === '002408011220', 'not the id of an Ed25519 key')
  return raw.subarray(6)
}

export function isSigned (peerId, message, signature) {
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: publicKey(peerId).toString('base64url') }, format: 'jwk' })
  return verify(null, message, key, signature)
}

// A tree that grows at its end: the roots of its perfect subtrees, largest first.
export class Tree {
  size = 0
  #peaks = []

  append (leaf) {
    let node = leaf
    for (let rest = this.size; rest % 2 === 1; rest = (rest - 1) / 2) node = nodeHash(this.#peaks.pop(), node)
    this.#peaks.push(node)
    this.size += 1
  }

  root () {
    if (this.size === 0) return sha256('')
    return this.#peaks.slice(0, -1).reduceRight((root, peak) => nodeHash(peak, root), this.#peaks.at(-1))
  }
}

// RFC 9162 section 2.1.4.2.
export function checkConsistency (size, root, newSize, newRoot, proof) {
  check(size <= newSize, 'the checkpoint is of a smaller tree')
  if (size === 0 || size === newSize) {
    check(proof.length === 0, 'a proof where none is needed')
    check(size === 0 || root.equals(newRoot), 'the entries lead to another root than the one that was signed')
    return
  }
  const path = Number.isInteger(Math.log2(size)) ? [root, ...proof] : [...proof]
  check(path.length > 0, 'an empty proof')
  let fn = BigInt(size - 1)
  let sn = BigInt(newSize - 1)
  for (; fn & 1n; fn >>= 1n) sn >>= 1n
  let [old, now] = [path[0], path[0]]
  for (const step of path.slice(1)) {
    check(sn !== 0n, 'the proof is too long')
    if (fn & 1n || fn === sn) {
      old = nodeHash(step, old)
      now = nodeHash(step, now)
      for (; !(fn & 1n) && fn !== 0n; fn >>= 1n) sn >>= 1n
    } else {
      now = nodeHash(now, step)
    }
    fn >>= 1n
    sn >>= 1n
  }
  check(sn === 0n && root.equals(old) && newRoot.equals(now), 'the entries lead to another root than the one that was signed')
}

const origin = (author, epoch) => `chorus-hap/feed/v1/${author}/${epoch}`
const keyId = (author, epoch) => sha256(`${origin(author, epoch)}\n`, '\x01', publicKey(author)).subarray(0, 4)
const canonical = text => {
  const bytes = Buffer.from(text, 'base64')
  check(bytes.toString('base64') === text, 'base64 that is not canonical')
  return bytes
}

// What a checkpoint signs, once the signature holds.
export function readCheckpoint (note, author, epoch) {
  const [text, signatures, ...more] = note.split('\n\n')
  check(note.length <= 4096 && more.length === 0 && signatures?.endsWith('\n'), 'not a signed note')
  const [name, size, root, ...extensions] = text.split('\n')
  check(name === origin(author, epoch) && extensions.length === 0, 'a checkpoint of something else')
  check(/^(0|[1-9][0-9]{0,14})$/.test(size) && canonical(root).length === 32, 'a malformed checkpoint')
  for (const line of signatures.slice(0, -1).split('\n')) {
    const [dash, signer, blob] = line.split(' ')
    check(dash === '—' && blob !== undefined, 'a malformed signature line')
    const bytes = canonical(blob)
    if (signer !== name || !bytes.subarray(0, 4).equals(keyId(author, epoch))) continue
    check(isSigned(author, Buffer.from(`${text}\n`), bytes.subarray(4)), 'the signature of a checkpoint does not hold')
    return { size: Number(size), root: canonical(root) }
  }
  throw new Error('a checkpoint that its author did not sign')
}

export async function writeCheckpoint (sign, author, epoch, tree) {
  const name = origin(author, epoch)
  const text = `${name}\n${tree.size}\n${tree.root().toString('base64')}\n`
  const blob = Buffer.concat([keyId(author, epoch), await sign(Buffer.from(text))])
  return `${text}\n— ${name} ${blob.toString('base64')}\n`
}

// An entry as it travels: its header, which must name its place, and its body, which must be the one that the header names.
export function readItem ([bytes, salt, body], author, epoch, seq) {
  check(bytes.length <= 16384, 'a header that long')
  const header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  check(header.v === 1 && header.author === author && header.epoch === epoch && header.seq === seq, 'a header names another place')
  check(/^[0-9a-f]{12}\.[0-9a-f]{4}$/.test(header.hlc), 'a malformed clock')
  if (body != null) {
    check(header.body?.size === body.length && header.body.hash === bodyHash(salt, body), 'a body that its header does not name')
  }
  return { header, bytes: body, body: body == null ? null : Buffer.from(body).toString() }
}
