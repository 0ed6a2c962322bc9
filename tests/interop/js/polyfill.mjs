// What js-libp2p takes for granted and older node.js has not.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((yes, no) => ([resolve, reject] = [yes, no]))
  return { promise, resolve, reject }
}
globalThis.CustomEvent ??= class CustomEvent extends Event {
  constructor (type, init = {}) {
    super(type, init)
    this.detail = init.detail ?? null
  }
}
if (globalThis.crypto === undefined) globalThis.crypto = (await import('node:crypto')).webcrypto
