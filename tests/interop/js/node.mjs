// A member of a CHORUS mesh on js-libp2p, written from docs/protocol*.md. Does what it is told, a JSON object a line, on stdin, and answers on
// stdout: {"ready"} first, then {"id", "done"} or {"id", "failed"}.
import './polyfill.mjs'
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'

const { createLibp2p } = await import('libp2p')
const { tcp } = await import('@libp2p/tcp')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { identify } = await import('@libp2p/identify')
const { ping } = await import('@libp2p/ping')
const { gossipsub } = await import('@libp2p/gossipsub')
const { kadDHT, passthroughMapper } = await import('@libp2p/kad-dht')
const { generateKeyPair } = await import('@libp2p/crypto/keys')
const { multiaddr } = await import('@multiformats/multiaddr')
const { Frames } = await import('./frames.mjs')
const { FEEDS, fetchFeed, heads, MAX_FEEDS_FRAME, now, OwnFeed, readAnnouncement } = await import('./feeds.mjs')
const { BLOCKS, fetchBody, MAX_BLOCKS_FRAME } = await import('./blocks.mjs')
const { check, sha256 } = await import('./tree.mjs')

const [network = 'chorus', agentId = 'agent-js'] = process.argv.slice(2)
const HELLO = '/chorus/hello/1.0.0'
const COOEE = '/chorus/cooee/1.0.0'
const TOPICS = ['CHORUS/coordination/v1', 'hmmm/meta-discussion/v1', 'CHORUS/context-feedback/v1', 'CHORUS/election/v1', 'CHORUS/feeds/v1']
const json = value => Buffer.from(JSON.stringify(value))
const recordKey = value => `/chorus/${sha256(value).toString('hex')}`

function validate (key, value) {
  check(value.length <= 8192 && Buffer.from(key).toString() === recordKey(value), 'a record that its key does not name')
}

const privateKey = await generateKeyPair('Ed25519')
const sign = message => privateKey.sign(message)
const node = await createLibp2p({
  privateKey,
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
  services: {
    identify: identify(),
    ping: ping(),
    pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign', allowPublishToZeroTopicPeers: true, fallbackToFloodsub: false }),
    dht: kadDHT({
      protocol: '/chorus/kad/1.0.0',
      clientMode: false,
      allowQueryWithZeroPeers: true,
      peerInfoMapper: passthroughMapper,
      validators: { chorus: validate },
      selectors: { chorus: () => 0 }
    })
  }
})
const me = node.peerId.toString()
const feed = new OwnFeed(me, sign)
const heard = []
const greeted = new Map()

// --- the mesh ---------------------------------------------------------------------------------------------------------

const hello = () => json({ v: 1, network, addresses: node.getMultiaddrs().map(String) })

async function served (protocol, max, serve) {
  await node.handle(protocol, async (stream, connection) => {
    try {
      await serve(new Frames(stream, max), connection.remotePeer.toString())
    } catch (error) {
      stream.abort(error)
    }
  })
}

await served(HELLO, 16384, async (frames, peer) => {
  greeted.set(peer, JSON.parse(await frames.receive()))
  await frames.send(hello())
})
await served('/chorus/ping/1.0.0', 64, async frames => {
  for (let frame; (frame = await frames.receive()) !== null;) await frames.send(frame)
  await frames.close()
})
await served('/chorus/peers/1.0.0', 16384, async frames => {
  await frames.send(json({ peers: [] }))
  await frames.close()
})
await served(FEEDS, MAX_FEEDS_FRAME, frames => feed.serve(frames))

async function opened (peer, protocol, max) {
  const connection = node.getConnections().find(c => c.remotePeer.toString() === peer)
  check(connection !== undefined, `no connection to ${peer}`)
  return new Frames(await connection.newStream(protocol), max)
}

async function connect (address) {
  const connection = await node.dial(multiaddr(address))
  const frames = new Frames(await connection.newStream(HELLO), 16384)
  await frames.send(hello())
  const theirs = JSON.parse(await frames.receive())
  await frames.close()
  greeted.set(connection.remotePeer.toString(), theirs)
  return { peer: connection.remotePeer.toString(), hello: theirs }
}

// --- members ----------------------------------------------------------------------------------------------------------

let cluster = ''
const cooeeHello = () => ({ type: 'cooee.hello', data: { network, agent_id: agentId, cluster, at_ms: Date.now() } })

await served(COOEE, 65536, async frames => {
  const { type } = JSON.parse(await frames.receive())
  await frames.send(json(type === 'cooee.hello' ? cooeeHello() : { type: 'cooee.reply', data: { status: 'redirect' } }))
  await frames.close()
})

async function cooee (peer, question) {
  const frames = await opened(peer, COOEE, 65536)
  await frames.send(json(question))
  const answer = JSON.parse(await frames.receive())
  await frames.close()
  return answer
}

async function enrol (peer, role) {
  const met = await cooee(peer, cooeeHello())
  const fields = [network, met.data.cluster, me, agentId, role, 'agent', Date.now(), '', 'never', ['javascript'], [], 'node.js']
  const signature = Buffer.from(await sign(Buffer.concat([Buffer.from('chorus-hap enrol v1\n'), json([...fields, ''])]))).toString('base64')
  const names = ['network', 'cluster', 'peer_id', 'agent_id', 'role', 'kind', 'at_ms', 'age_recipient', 'voter_use', 'capabilities', 'models', 'host']
  const data = { ...Object.fromEntries(names.map((name, n) => [name, fields[n]])), signature }
  const { data: reply } = await cooee(peer, { type: 'cooee.enrol', data })
  if (reply.status === 'admitted') cluster = reply.cluster
  return reply
}

// --- gossip -----------------------------------------------------------------------------------------------------------

let stamp = ''

function uuid7 () {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(Date.now(), 0, 6)
  bytes[6] = 0x70 | (bytes[6] & 0x0f)
  bytes[8] = 0x80 | (bytes[8] & 0x3f)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

async function publish (topic, type, data, more = {}) {
  stamp = now(stamp)
  const id = uuid7()
  const envelope = { v: 1, id, type, from: me, agent_id: agentId, role: 'agent', kind: 'agent', hlc: stamp, sent_at: new Date().toISOString(), data, ...more }
  await node.services.pubsub.publish(topic, json(envelope))
  return id
}

function receive ({ topic, data, from }) {
  const envelope = JSON.parse(Buffer.from(data))
  check(envelope.v === 1 && envelope.from === from.toString(), 'an envelope of somebody else than its signature')
  const entries = envelope.type === 'feed.head' ? readAnnouncement(envelope.data) : []
  return { topic, type: envelope.type, from: envelope.from, entries: entries.map(({ header, body }) => ({ type: header.type, body })) }
}

// One envelope, or a batch: a zero byte, then each behind its length.
function unpack (data) {
  if (data[0] !== 0) return [data]
  const bytes = Buffer.from(data)
  const envelopes = []
  for (let at = 1; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32BE(at)
    check(end <= bytes.length && envelopes.length < 256, 'a batch that is cut off or too long')
    envelopes.push(bytes.subarray(at + 4, end))
    at = end
  }
  check(envelopes.length > 0, 'a batch of nothing')
  return envelopes
}

// js-libp2p has checked the signature when this event comes.
node.services.pubsub.addEventListener('message', ({ detail }) => {
  if (detail.from.toString() === me) return
  try {
    for (const data of unpack(detail.data)) heard.push(receive({ topic: detail.topic, from: detail.from, data }))
  } catch (error) {
    heard.push({ failed: error.message })
  }
})
TOPICS.forEach(topic => node.services.pubsub.subscribe(topic))

// --- what it is told --------------------------------------------------------------------------------------------------

const commands = {
  connect: ({ address }) => connect(address),
  peers: () => node.getPeers().map(String),
  followers: ({ topic }) => node.services.pubsub.getSubscribers(topic).map(String),
  enrol: ({ peer, role }) => enrol(peer, role),
  publish: ({ topic, type, data, more }) => publish(topic, type, data, more),
  heard: () => heard,
  heads: async ({ peer }) => {
    const frames = await opened(peer, FEEDS, MAX_FEEDS_FRAME)
    const found = await heads(frames)
    await frames.close()
    return found
  },
  fetch: async ({ peer, author, epoch, meddle }) => {
    const frames = await opened(peer, FEEDS, MAX_FEEDS_FRAME)
    try {
      const { entries, ...found } = await fetchFeed(frames, author, epoch, MEDDLING[meddle])
      return { ...found, entries: entries.map(({ header, body }) => ({ header, body })) }
    } finally {
      await frames.close()
    }
  },
  content: async ({ peer, author, epoch, seq }) => {
    const frames = await opened(peer, FEEDS, MAX_FEEDS_FRAME)
    const { entries: { [seq]: entry } } = await fetchFeed(frames, author, epoch)
    await frames.close()
    const blocks = await opened(peer, BLOCKS, MAX_BLOCKS_FRAME)
    const body = await fetchBody(blocks, entry.bytes, entry.header.body.content)
    await blocks.close()
    return { size: body.length, hash: sha256(body).toString('hex') }
  },
  say: async ({ room, text }) => {
    const head = await feed.append('hmmm.message', { room, intent: 'update' }, text)
    return await publish('CHORUS/feeds/v1', 'feed.head', head)
  },
  write: ({ room, text }) => feed.append('hmmm.message', { room, intent: 'update' }, text),
  put: async ({ text, key }) => {
    const value = Buffer.from(text)
    const events = []
    for await (const event of node.services.dht.put(Buffer.from(key ?? recordKey(value)), value)) events.push(event.error ? `${event.name}: ${event.error.message}` : event.name)
    return { key: recordKey(value), events }
  },
  get: async ({ key }) => {
    for await (const event of node.services.dht.get(Buffer.from(key))) {
      if (event.name === 'VALUE') return Buffer.from(event.value).toString()
    }
    return null
  }
}

// Answers that somebody has changed on the way.
const changed = (bytes, at) => {
  const copy = Buffer.from(bytes)
  copy[at < 0 ? copy.length + at : at] ^= 1
  return copy
}
const MEDDLING = {
  header: answer => {
    const [[header, ...rest], ...more] = answer.items
    return { ...answer, items: [[Buffer.from(Buffer.from(header).toString().replace('"data":{', '"more":1,"data":{')), ...rest], ...more] }
  },
  body: answer => ({ ...answer, items: answer.items.map(([header, salt, body]) => [header, salt, body && changed(body, 0)]) }),
  checkpoint: answer => ({ ...answer, checkpoint: answer.checkpoint.replace(/\n(\d+)\n/, (_, size) => `\n${Number(size) + 1}\n`) }),
  order: answer => ({ ...answer, items: [...answer.items].reverse() })
}

const write = message => process.stdout.write(`${JSON.stringify(message)}\n`)
const input = createInterface({ input: process.stdin })
input.on('line', async line => {
  const { id, do: name, ...rest } = JSON.parse(line)
  try {
    write({ id, done: await commands[name](rest) ?? null })
  } catch (error) {
    write({ id, failed: error.message })
  }
})
input.on('close', () => process.exit(0))
write({ ready: me, addresses: node.getMultiaddrs().map(String), node: process.version })
