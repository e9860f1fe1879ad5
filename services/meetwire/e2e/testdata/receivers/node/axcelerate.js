'use strict'

// A receiver of aXcelerate's webhooks. The page has no snippet: this does what it says of the two headers, with and
// without a private key. That the hash is an HMAC in hex is Meetwire's.

const crypto = require('crypto')
const express = require('express')
const { accept, reject, listen } = require('./report')

const privateKey = process.env.SECRET
const app = express()

const isValid = (req) => {
  const version = req.get('Ax-Signature-Version')
  const signature = req.get('Ax-Signature')
  if (!privateKey) {
    return version === '0' && signature === ''
  }
  return version === '1' && signature === crypto.createHmac('sha256', privateKey).update(req.body).digest('hex')
}

app.post('/', express.raw({ type: 'application/json' }), (req, res) => {
  if (!isValid(req)) {
    return reject(req, res, 'Ax-Signature is not that of the body')
  }
  const { type, message, clientId, messageId, timestamp } = JSON.parse(req.body)
  accept(req, res, { event: type, eventId: messageId, time: timestamp, clientId, meeting: message.id })
})

listen(app)
