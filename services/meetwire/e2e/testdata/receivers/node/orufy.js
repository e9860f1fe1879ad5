'use strict'

// A receiver of Orufy Bookings' webhooks. The page explains the fields and says that a secret token verifies requests,
// but not how: the header and hex are Meetwire's.

const crypto = require('crypto')
const express = require('express')
const { accept, reject, listen } = require('./report')

const secretToken = process.env.SECRET
const app = express()

app.post('/', express.raw({ type: 'application/json' }), (req, res) => {
  const own = crypto.createHmac('sha256', secretToken).update(req.body).digest()
  const sent = Buffer.from(req.get('X-Orufy-Signature') || '', 'hex')
  if (own.length !== sent.length || !crypto.timingSafeEqual(own, sent)) {
    return reject(req, res, 'the signature does not match')
  }
  const { eventType, meetData } = JSON.parse(req.body)
  const handle = {
    BOOK: () => ({ detail: meetData.attendees[0].status }),
    RESCHEDULE: () => ({ detail: `${meetData.prevMeetId} ${meetData.reschedule.newMeetId}` }),
    CANCEL: () => ({ detail: meetData.cancellation.reason })
  }[eventType]
  accept(req, res, { event: eventType, meeting: meetData._id, time: meetData.time, ...handle() })
})

listen(app)
