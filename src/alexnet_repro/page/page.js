// The photograph is the body of a request, and the answer is put into the page.
const upload = document.querySelector("#upload input");
const said = document.querySelector("#said");

function refuse(reason) {
  const line = document.createElement("p");
  line.className = "refusal";
  line.role = "alert";
  line.textContent = reason;
  said.replaceChildren(line);
}

async function ask(photograph) {
  if (photograph.size > Number(upload.dataset.most)) {
    return refuse("This file is too large.");
  }
  said.textContent = "The network is looking at it …";
  try {
    const response = await fetch("answer", { method: "POST", body: photograph });
    const text = await response.text();
    if (!response.ok) return refuse(text);
    said.innerHTML = text;
  } catch {
    refuse("The server does not answer.");
  }
}

upload.addEventListener("change", async () => {
  if (!upload.files.length) return;
  upload.disabled = true;
  await ask(upload.files[0]);
  upload.disabled = false;
  upload.value = "";
});
