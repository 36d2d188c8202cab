// Prints the first message of a topic, by the npm package ws. Arguments after the URL are subprotocols.
import WebSocket from "ws";

const socket = new WebSocket(process.argv[2], process.argv.slice(3));
socket.on("open", () => console.error("open"));
socket.on("message", (data, binary) => {
  console.log(JSON.stringify({ data: data.toString(), binary }));
  socket.close(1000);
});
socket.on("close", (code, reason) => {
  if (code !== 1000) console.error(code + " " + reason);
  process.exit(code === 1000 ? 0 : 1);
});
socket.on("error", (err) => { console.error(err.message); process.exit(1); });
