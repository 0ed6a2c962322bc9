// Framed streams (docs/protocol-mesh.md): 4 bytes of length, big endian, then so many bytes.

export const MAX_FRAME = 524288

export class Frames {
  #stream
  #max
  #chunks
  #buffer = Buffer.alloc(0)

  constructor (stream, max = MAX_FRAME) {
    this.#stream = stream
    this.#max = max
    this.#chunks = stream[Symbol.asyncIterator]()
  }

  async send (frame) {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(frame.length)
    if (!this.#stream.send(Buffer.concat([length, frame]))) await this.#stream.onDrain()
  }

  // The next frame, or null when the other side has ended the stream.
  async receive () {
    for (;;) {
      if (this.#buffer.length >= 4) {
        const end = 4 + this.#buffer.readUInt32BE(0)
        if (end > 4 + this.#max) throw new Error(`a frame of ${end - 4} bytes`)
        if (this.#buffer.length >= end) {
          const frame = this.#buffer.subarray(4, end)
          this.#buffer = this.#buffer.subarray(end)
          return frame
        }
      }
      const { done, value } = await this.#chunks.next()
      if (done) return null
      this.#buffer = Buffer.concat([this.#buffer, value.subarray()])
    }
  }

  async close () {
    await this.#stream.close().catch(() => {})
  }
}
