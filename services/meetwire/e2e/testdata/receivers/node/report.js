'use strict'

// What every receiver here shares: it listens on a free port, and says on its output, one JSON object a line, where it
// listens and what it made of each request. It checks nothing.

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

// accept reports a request whose check has passed, and what the receiver read in it.
exports.accept = (req, res, read) => {
  say({ id: req.get('webhook-id'), agent: req.get('user-agent'), type: req.get('content-type'), accepted: true, ...read })
  res.sendStatus(204)
}

// reject reports a request whose check has not passed.
exports.reject = (req, res, reason) => {
  say({ id: req.get('webhook-id'), accepted: false, reason })
  res.sendStatus(401)
}

exports.listen = (app) => {
  // A request that cannot even be read is neither accepted nor rejected by a check.
  app.use((error, req, res, next) => {
    say({ id: req.get('webhook-id'), accepted: false, reason: `broken: ${error.message}` })
    res.sendStatus(500)
  })
  const server = app.listen(0, '127.0.0.1', (error) => {
    if (error) throw error
    say({ listening: `http://127.0.0.1:${server.address().port}/` })
  })
}
