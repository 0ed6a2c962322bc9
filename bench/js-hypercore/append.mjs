// Hypercore's appends on this disk, for bench/feeds.py: prints JSON.
// node append.mjs <folder> <seconds> <callers> <batch> <bytes>

import Hypercore from 'hypercore'

const [folder, seconds, callers, batch, bytes] = process.argv.slice(2).map((value, n) => (n ? Number(value) : value))
const core = new Hypercore(folder)
await core.ready()

const block = Buffer.alloc(bytes, 'a message of a common length, ')
const blocks = Array.from({ length: batch }, () => block)
const waits = []
const start = performance.now()
const end = start + seconds * 1000

async function call() {
  while (performance.now() < end) {
    const asked = performance.now()
    await core.append(batch === 1 ? block : blocks)
    waits.push(performance.now() - asked)
  }
}

await Promise.all(Array.from({ length: callers }, call))
const took = (performance.now() - start) / 1000
waits.sort((a, b) => a - b)
console.log(
  JSON.stringify({
    callers,
    batch,
    entries_per_s: Math.round(core.length / took),
    wait_median_ms: Number(waits[waits.length >> 1].toFixed(2))
  })
)
await core.close()
