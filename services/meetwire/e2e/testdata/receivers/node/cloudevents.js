'use strict'

// A receiver that reads events with the SDK of the CloudEvents project, after it has checked the signature with the
// library of the Standard Webhooks project.

const express = require('express')
const { HTTP } = require('cloudevents')
const { Webhook } = require('standardwebhooks')
const { accept, reject, listen } = require('./report')

const webhook = new Webhook(process.env.SECRET)
const app = express()

app.post('/', express.text({ type: 'application/cloudevents+json' }), (req, res) => {
  try {
    webhook.verify(req.body, req.headers)
  } catch (error) {
    return reject(req, res, error.message)
  }
  const event = HTTP.toEvent({ headers: req.headers, body: req.body })
  event.validate()
  accept(req, res, {
    event: event.type, eventId: event.id, source: event.source, version: event.specversion, time: event.time, meeting: event.data.id
  })
})

listen(app)
