// Opens a serial port with the package serialport, once, says hello, and prints the lines that it
// hears.
//
//     node talk.js PATH
const { SerialPort, ReadlineParser } = require('serialport')

const port = new SerialPort({ path: process.argv[2], baudRate: 115200 }, (error) => {
  if (error) throw error
  port.write('hello from node\n')
})
port.pipe(new ReadlineParser()).on('data', (line) => console.log('heard', line))
