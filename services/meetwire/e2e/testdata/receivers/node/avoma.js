'use strict'

// A receiver of Avoma's webhooks. The page has no snippet: this does what it tells the server to do, with the signature
// in hex.

const crypto = require('crypto')
const express = require('express')
const { accept, reject, listen } = require('./report')

const secret = process.env.SECRET
const app = express()

app.post('/', express.raw({ type: 'application/json' }), (req, res) => {
  const own = crypto.createHmac('sha256', secret).update(req.body).digest('hex')
  if (own !== req.get('X-Avoma-Signature')) {
    return reject(req, res, 'the signatures do not match')
  }
  const event = JSON.parse(req.body)
  const notes = event.data.ai_notes
  accept(req, res, {
    event: event.event, eventId: event.id, time: event.created_at, meeting: event.data.id, notes: notes && notes.summary
  })
})

listen(app)
