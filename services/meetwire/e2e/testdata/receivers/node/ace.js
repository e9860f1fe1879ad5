'use strict'

// A receiver of ACE Meetings' webhooks: the page's snippet for Express, with the lines that it leaves out.

const express = require('express')
const crypto = require('crypto')
const { accept, reject, listen } = require('./report')

const secret = process.env.SECRET
const app = express()

class InvalidSignatureError extends Error {}

const isValidSignature = (body, aceSignature, secret) => {
  const computedSignature = crypto.createHmac('sha256', secret).update(body).digest('base64')
  return aceSignature === computedSignature
}

app.use(express.json({
  verify: function (req, res, buf, encoding) {
    const aceSignature = req.headers['x-ace-signature']
    const isValid = isValidSignature(buf.toString(), aceSignature, secret)
    if (!isValid) {
      throw new InvalidSignatureError('x-ace-signature is not that of the body')
    }
  }
}))

app.use((error, req, res, next) => {
  if (error.type !== 'entity.verify.failed') {
    return next(error)
  }
  reject(req, res, error.message)
})

app.post('/', (req, res) => {
  accept(req, res, { event: req.body.event, eventId: req.body.id, time: req.body.created_at, meeting: req.body.data.id })
})

listen(app)
