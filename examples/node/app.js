// Reads lines from a serial port, logs them and sends them back; tells on port 6769 how it is.
//
//     SERIAL_PORT=/dev/board BAUD_RATE=115200 node app.js
//
// There is no search for the port and no polling here. The first open waits until the port is
// there (`runtime: ttyplug`), and so does the next one after the port was unplugged.
const http = require('node:http')
const { SerialPort, ReadlineParser } = require('serialport')

const path = process.env.SERIAL_PORT || '/dev/board'
const baudRate = Number(process.env.BAUD_RATE || 115200)

// waiting: an open has been started; open; failed: it will be tried again in a second.
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

// Between the unplug and the end of the node an open fails at once; a second later it waits.
// It also fails when nothing was plugged in for as long as an open may wait.
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

// As the first process of a container it has to end by itself when it is asked to.
process.on('SIGTERM', () => process.exit(0))

open()
