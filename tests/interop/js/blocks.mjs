// /chorus/blocks/1.0.0 (docs/protocol-blocks.md): the blocks that a large body's manifest names.
import { decode, encode } from '@msgpack/msgpack'
import { check, sha256 } from './tree.mjs'

export const BLOCKS = '/chorus/blocks/1.0.0'
export const MAX_BLOCKS_FRAME = 132096
const BLOCK = 131072

// A whole body by its manifest, each block checked by its address.
export async function fetchBody (frames, manifest, content) {
  const { v, size, blocks } = decode(manifest)
  check(v === 1 && size === content && blocks.length === 32 * Math.ceil(size / BLOCK), 'a manifest that does not fit its header')
  const parts = []
  for (let at = 0; at < blocks.length; at += 32) {
    const block = Buffer.from(blocks.subarray(at, at + 32))
    await frames.send(encode({ t: 'want', block }))
    const { t, data } = decode(await frames.receive())
    check(t === 'block' && data != null && sha256(data).equals(block), 'a block that is not what its address names')
    parts.push(data)
  }
  const body = Buffer.concat(parts)
  check(body.length === size, 'a body of another size')
  return body
}
