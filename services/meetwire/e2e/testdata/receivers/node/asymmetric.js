'use strict'

// A receiver that has the public key only, and checks signatures `v1a` with what Node itself has, after the Standard
// Webhooks specification: the libraries of that project know no `v1a`.

const crypto = require('crypto')
const express = require('express')
const { accept, reject, listen } = require('./report')

const raw = Buffer.from(process.env.SECRET.slice('whpk_'.length), 'base64')
const publicKey = crypto.createPublicKey({
  key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') },
  format: 'jwk'
})
const toleranceSeconds = 300
const app = express()

const isValid = (req) => {
  const id = req.get('webhook-id')
  const timestamp = req.get('webhook-timestamp')
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) < toleranceSeconds)) {
    return false
  }
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), req.body])
  return (req.get('webhook-signature') || '').split(' ').some((signature) => {
    const [version, value] = signature.split(',')
    return version === 'v1a' && crypto.verify(null, signed, publicKey, Buffer.from(value || '', 'base64'))
  })
}

app.post('/', express.raw({ type: '*/*' }), (req, res) => {
  if (!isValid(req)) {
    return reject(req, res, 'no signature is of the private key')
  }
  const event = JSON.parse(req.body)
  accept(req, res, { event: event.type, time: event.timestamp || event.time, meeting: event.data.id })
})

listen(app)
