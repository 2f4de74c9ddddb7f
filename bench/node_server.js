// The server of node-coap that is measured: node node_server.js MODULES HOST PORT, where MODULES is a node_modules directory.
const [modules, host, port] = process.argv.slice(2)
const coap = require(`${modules}/coap`)

const server = coap.createServer({ type: host.includes(':') ? 'udp6' : 'udp4' }, (request, response) => {
  if (request.url !== '/t') {
    response.code = '4.04'
    response.end()
    return
  }
  response.end('hello world')
})
server.listen(Number(port), host)
