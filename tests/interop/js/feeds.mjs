// /chorus/feeds/1.0.0 (docs/protocol-feeds.md): other people's feeds, believed by their checkpoints, and one of our own.
import { randomBytes } from 'node:crypto'
import { decode, encode } from '@msgpack/msgpack'
import { bodyHash, check, checkConsistency, leafHash, readCheckpoint, readItem, Tree, writeCheckpoint } from './tree.mjs'

export const FEEDS = '/chorus/feeds/1.0.0'
export const MAX_FEEDS_FRAME = 262144

async function ask (frames, question, name) {
  await frames.send(encode(question))
  const frame = await frames.receive()
  check(frame !== null, 'the stream ended')
  const answer = decode(frame)
  check(answer.t === name, `asked for ${name} and got ${answer.t}`)
  return answer
}

// Every head that a peer shows.
export async function heads (frames) {
  const found = []
  for (let page = 0, pages = 1; page < pages; page++) {
    const have = await ask(frames, { t: 'have', heads: [], forks: [], page, pages: 0 }, 'have')
    pages = have.pages ?? 0
    found.push(...(have.heads ?? []))
  }
  return found
}

// A whole feed, verified. `meddle` may change each answer first, to see that it is noticed.
export async function fetchFeed (frames, author, epoch, meddle = answer => answer) {
  const tree = new Tree()
  const entries = []
  for (let ranges = 1; ; ranges++) {
    const answer = meddle(await ask(frames, { t: 'want', author, epoch, start: tree.size }, 'range'))
    const items = answer.items ?? []
    if (items.length === 0) return { ranges, entries, size: tree.size, root: tree.root().toString('hex') }
    for (const item of items) {
      entries.push(readItem(item, author, epoch, tree.size))
      tree.append(leafHash(item[0]))
    }
    const signed = readCheckpoint(answer.checkpoint, author, epoch)
    checkConsistency(tree.size, tree.root(), signed.size, signed.root, (answer.proof ?? []).map(step => Buffer.from(step)))
    if (tree.size === signed.size) return { ranges, entries, size: tree.size, root: tree.root().toString('hex') }
  }
}

// A head announcement: the note must hold, and its entries lead to it where nothing is missing before them.
export function readAnnouncement ({ author, epoch, size, checkpoint, start = 0, entries = [] }) {
  const signed = readCheckpoint(checkpoint, author, epoch)
  check(signed.size === size, 'an announcement of another size than its checkpoint')
  const items = entries.map(item => item.map(part => part === null ? null : Buffer.from(part, 'base64')))
  const read = items.map((item, n) => readItem(item, author, epoch, start + n))
  if (start === 0 && items.length === size) {
    const tree = new Tree()
    items.forEach(item => tree.append(leafHash(item[0])))
    checkConsistency(size, tree.root(), size, signed.root, [])
  }
  return read
}

// This node's own feed, epoch 0.
export class OwnFeed {
  #sign
  #items = []
  #tree = new Tree()
  #last = ''

  constructor (author, sign) {
    this.author = author
    this.#sign = sign
    this.note = ''
  }

  // Append an entry; gives the announcement of it.
  async append (type, data, text) {
    const [seq, salt, body] = [this.#tree.size, randomBytes(16), Buffer.from(text)]
    const hlc = now(this.#last)
    const header = { v: 1, author: this.author, epoch: 0, seq, hlc, type, body: { hash: bodyHash(salt, body), size: body.length }, data }
    const item = [Buffer.from(JSON.stringify(header)), salt, body]
    this.#last = hlc
    this.#tree.append(leafHash(item[0]))
    this.#items.push(item)
    this.note = await writeCheckpoint(this.#sign, this.author, 0, this.#tree)
    const entries = [item.map(part => part.toString('base64'))]
    return { author: this.author, epoch: 0, size: seq + 1, checkpoint: this.note, start: seq, entries }
  }

  // Answer questions about it until the other side hangs up.
  async serve (frames) {
    for (;;) {
      const frame = await frames.receive()
      if (frame === null) break
      await frames.send(encode(this.#answer(decode(frame))))
    }
    await frames.close()
  }

  #answer (question) {
    const { t, author, epoch, start = 0 } = question
    const ours = author === this.author && epoch === 0
    const head = { author: this.author, epoch: 0, size: this.#tree.size, root: this.#tree.root().toString('hex') }
    switch (t) {
      case 'have': {
        const paged = question.page !== undefined && question.page !== null
        const heads = paged ? [head] : (question.heads ?? []).map(h => h.author === this.author && h.epoch === 0 ? head : { ...h, size: 0 })
        return { t: 'have', heads, forks: [], page: question.page ?? null, pages: paged ? 1 : 0 }
      }
      case 'want':
        return ours && start < this.#items.length
          ? { t: 'range', items: this.#items.slice(start), checkpoint: this.note, proof: [] }
          : { t: 'range', items: [], checkpoint: '', proof: [] }
      case 'ask_bodies':
        return { t: 'bodies', bodies: ours ? question.seqs.filter(n => this.#items[n]).map(n => [n, ...this.#items[n].slice(1)]) : [] }
      case 'ask_roots':
        return { t: 'roots', roots: question.sizes.map(() => Buffer.alloc(0)) }
      case 'ask_side':
        return { t: 'side', side: null }
      case 'ask_forks':
        return { t: 'forks', proofs: [] }
      default:
        throw new Error(`an unknown question ${t}`)
    }
  }
}

// The time as a hybrid logical clock stamp, greater than the last one.
export function now (last = '') {
  const stamp = `${Date.now().toString(16).padStart(12, '0')}.0000`
  if (stamp > last) return stamp
  const [ms, counter] = last.split('.')
  return `${ms}.${(parseInt(counter, 16) + 1).toString(16).padStart(4, '0')}`
}
