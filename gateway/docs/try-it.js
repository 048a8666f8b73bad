/**
 * The script of the page at /docs: adds a form to each call, sends it to the page's own origin, and shows the response. The API key stays in
 * the input of this page: it is neither stored nor part of a URL. The page works without this script.
 */
const key = document.querySelector('#key')
document.querySelector('#try').hidden = false

for (const place of document.querySelectorAll('[data-call]')) {
  const open = element('button', 'Try it')
  open.addEventListener('click', () => open.replaceWith(formOf(JSON.parse(place.dataset.call))))
  place.append(open)
}

function formOf({ method, path, parameters, body }) {
  const form = element('form')
  const inputs = parameters.map(({ name, in: where, required }) => {
    const input = element('input')
    Object.assign(input, { required, autocomplete: 'off', placeholder: required ? 'required' : 'optional' })
    form.append(labelled(`${name} (${where})`, input))
    return { name, where, input }
  })
  const text = body === undefined ? undefined : element('textarea', JSON.stringify(body, undefined, 2))
  if (text !== undefined) {
    text.rows = Math.min(20, text.value.split('\n').length + 1)
    form.append(labelled('Body', text))
  }
  const send = element('button', 'Send')
  const output = element('output')
  form.append(send, output)
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    send.disabled = true
    try {
      await show(output, await fetch(requestOf({ method, path, text }, inputs)))
    } catch (error) {
      output.replaceChildren(element('p', `There was no response: ${error.message}`))
    } finally {
      send.disabled = false
    }
  })
  return form
}

function requestOf({ method, path, text }, inputs) {
  let target = path
  const query = new URLSearchParams()
  const headers = new Headers()
  if (key.value.trim() !== '') headers.set('authorization', `Bearer ${key.value.trim()}`)
  for (const { name, where, input } of inputs) {
    if (where === 'path') target = target.replace(`{${name}}`, encodeURIComponent(input.value))
    else if (input.value === '') continue
    else if (where === 'header') headers.set(name, input.value)
    else query.append(name, input.value)
  }
  if (text !== undefined) headers.set('content-type', 'application/json')
  const url = query.size === 0 ? target : `${target}?${query}`
  return new Request(url, { method, headers, body: text?.value, credentials: 'omit', redirect: 'manual', cache: 'no-store' })
}

const shown = ['content-type', 'x-request-id', 'retry-after', 'link']

async function show(output, response) {
  const text = await response.text()
  const headers = shown.flatMap((name) => (response.headers.has(name) ? [`${name}: ${response.headers.get(name)}`] : []))
  const parts = [
    element('p', `${response.status} ${response.statusText}`),
    element('pre', headers.join('\n')),
    element('pre', readable(text)),
  ]
  const trace = response.headers.get('x-trace-link')
  if (trace !== null && /^https?:\/\//.test(trace)) {
    const link = element('a', 'The trace of this request')
    Object.assign(link, { href: trace, rel: 'noreferrer', target: '_blank' })
    parts.splice(1, 0, link)
  }
  output.replaceChildren(...parts)
}

function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2)
  } catch {
    return text
  }
}

function labelled(name, input) {
  const label = element('label', name)
  label.append(input)
  return label
}

function element(name, text = '') {
  const made = document.createElement(name)
  made.textContent = text
  return made
}
