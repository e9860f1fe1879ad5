'use strict'

// A receiver with the library of the Standard Webhooks project.

const express = require('express')
const { Webhook } = require('standardwebhooks')
const { accept, reject, listen } = require('./report')

const webhook = new Webhook(process.env.SECRET)
const app = express()

app.post('/', express.raw({ type: 'application/json' }), (req, res) => {
  let event
  try {
    event = webhook.verify(req.body, req.headers)
  } catch (error) {
    return reject(req, res, error.message)
  }
  accept(req, res, { event: event.type, time: event.timestamp, meeting: event.data.id })
})

listen(app)
