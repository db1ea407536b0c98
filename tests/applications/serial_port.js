// Opens a serial port with the package serialport, once, and uses it. At SIGTERM it ends with 0.
//
//     node serial_port.js PATH
const { SerialPort } = require('serialport')

process.on('SIGTERM', () => {
  console.log('SIGTERM')
  process.exit(0)
})

const start = Date.now()
// A virtual console has one speed, 38400.
const port = new SerialPort({ path: process.argv[2], baudRate: 38400 }, opened)

function opened(error) {
  if (error) {
    console.log('open failed', error.message)
    // As applications do, it lives on without its port.
    setTimeout(() => process.exit(1), 60000)
    return
  }
  console.log('open ok', Date.now() - start)
  port.write('\0')
  port.drain(drained)
}

function drained(error) {
  console.log('write', error ? error.message : 1)
  port.close(() => console.log('closed'))
}
