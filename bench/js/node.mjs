// One gossip node on js-libp2p for the benchmarks: takes the commands of bench/gossip_node.py and answers in the same way.
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const TOPIC = 'CHORUS/coordination/v1'
const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign', emitSelf: false, allowPublishToZeroTopicPeers: true }) }
})
const pubsub = node.services.pubsub
const now = () => process.hrtime.bigint()
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
let arrivals = []

pubsub.addEventListener('message', ({ detail }) => {
  const view = new DataView(detail.data.buffer, detail.data.byteOffset)
  arrivals.push([view.getBigUint64(0), now()])
})
pubsub.subscribe(TOPIC)

const commands = {
  async dial ({ address }) {
    await node.dial(multiaddr(address))
    return {}
  },
  async ready ({ peers }) {
    while (pubsub.getMeshPeers(TOPIC).length < peers) await sleep(50)
    return {}
  },
  async publish ({ count, size, rate }) {
    const began = now()
    for (let n = 1; n <= count; n++) {
      const data = new Uint8Array(size)
      new DataView(data.buffer).setBigUint64(0, now())
      await pubsub.publish(TOPIC, data)
      if (rate) {
        const due = Number(began) / 1e6 + n * 1000 / rate
        await sleep(Math.max(0, due - Number(now()) / 1e6))
      }
    }
    return { seconds: Number(now() - began) / 1e9 }
  },
  async report ({ expect, quiet_s: quiet }) {
    let before = -1
    let since = now()
    while (arrivals.length < expect && Number(now() - since) / 1e9 < quiet) {
      if (arrivals.length !== before) { before = arrivals.length; since = now() }
      await sleep(50)
    }
    const all = arrivals
    arrivals = []
    const latencies = all.map(([sent, got]) => Number(got - sent) / 1e6).sort((a, b) => a - b)
    const last = all.length - 1
    return {
      received: all.length,
      span_s: all.length ? Number(all[last][1] - all[0][0]) / 1e9 : 0,
      p50_ms: latencies[Math.floor(latencies.length / 2)] ?? null,
      p99_ms: latencies[Math.min(last, Math.floor(latencies.length * 0.99))] ?? null
    }
  }
}

console.log(JSON.stringify({ address: node.getMultiaddrs()[0].toString() }))
for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...rest } = JSON.parse(line)
  console.log(JSON.stringify(await commands[what](rest)))
}
process.exit(0)
