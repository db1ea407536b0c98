// Reads lines from a serial port, logs them and sends them back. Reports its state on port 6769.
//
//     SERIAL_PORT=/dev/board BAUD_RATE=115200 node app.js
//
// It neither searches for the port nor polls. The first open waits until the port is ready
// (`runtime: ttyplug`), and so does the next one after the port was unplugged.
const http = require('node:http')
const { SerialPort, ReadlineParser } = require('serialport')

const path = process.env.SERIAL_PORT || '/dev/board'
const baudRate = Number(process.env.BAUD_RATE || 115200)

// waiting: open() was called; open; failed: the next attempt is in a second.
const status = { port: path, state: 'waiting', since: new Date(), lines: 0, error: null }

function change(state, error) {
  Object.assign(status, { state, since: new Date(), error: error ? error.message : null })
  console.log(error ? `${path}: ${state}: ${error.message}` : `${path}: ${state}`)
}

function open() {
  change('waiting')
  const port = new SerialPort({ path, baudRate }, (error) => {
    if (error) failed(error)
    else change('open')
  })
  port.pipe(new ReadlineParser()).on('data', (line) => {
    status.lines += 1
    console.log(`${path}: ${JSON.stringify(line)}`)
    port.write(`${line}\n`)
  })
  port.on('error', (error) => console.log(`${path}: ${error.message}`))
  // An unplugged port closes by itself, and says that it was disconnected.
  port.on('close', failed)
}

// After the unplug, an open fails until the node is removed; a second later it waits. It also fails
// when the time set by `hold` is over.
function failed(error) {
  change('failed', error)
  setTimeout(open, 1000)
}

const server = http.createServer((request, response) => {
  if (request.url === '/state') {
    response.setHeader('Content-Type', 'application/json')
    response.end(`${JSON.stringify(status)}\n`)
  } else {
    response.setHeader('Content-Type', 'text/plain')
    response.end(`Welcome. ${path} is ${status.state}. Lines so far: ${status.lines}.\n`)
  }
})
server.listen(6769)

// The first process of a container has no default action for SIGTERM.
process.on('SIGTERM', () => process.exit(0))

open()
