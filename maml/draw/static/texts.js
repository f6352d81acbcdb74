// What the page says, in each language; {} are values. Elements name their texts: data-text for what
// they show, data-label for assistive technology, data-title for a tooltip.

export const TEXTS = {
  en: {
    title: "Draw a few, it learns",
    introduction: "Invent two or more characters. Draw each once or up to five times, as examples. Then draw one of them again in the large field: a network that was trained to learn from few examples, and never saw yours, says which it is.",
    method: "Method",
    maml: "MAML", reptile: "Reptile", protonet: "Prototypical networks",
    aboutMaml: "MAML goes a few steps of gradient descent on your examples, from weights that were trained to learn in so few.",
    aboutReptile: "Reptile too adapts its weights to your examples by gradient descent; it found where to start by moving towards what many tasks learned.",
    aboutProtonet: "Prototypical networks learn nothing anew: they place your drawing beside the mean of each class's examples, and the nearest is the answer.",
    upTo: "{checkpoint}, up to {most} classes",
    examples: "Examples of each class",
    see: "What the network sees", seeTitle: "Shows each example as the 28 x 28 pixels that the network gets",
    more: "Add a class", undo: "Undo", fill: "Fill with examples", again: "Start again",
    download: "Download", downloadTitle: "A zip with a folder of drawings for each class, as evaluate.py --support takes it",
    open: "Open …", openTitle: "A zip with a folder of drawings for each class; you can drop it anywhere on the page, too",
    question: "Which of them is this?",
    view: "what the network sees",
    choose: "Picture …", photograph: "Camera", take: "Take", leave: "Cancel",
    steps: "After each update step", step: "step",
    here: "draw here", hereQuery: "draw one of them here",
    name: "Name of this class", clear: "Clear example {number} of {name}", clearQuery: "Clear",
    choosing: "Pictures for {name} …", photographing: "Photograph for {name}", removing: "Remove {name}",
    pad: "Example {number} of {name}, {state}. Draw here; Enter chooses a picture, Delete clears.",
    padQuery: "Drawing to classify, {state}. Draw here; Enter chooses a picture, Delete clears.",
    empty: "empty", drawn: "drawn", refused: "cannot be used",
    missing: "Draw an example of {names}.", learning: "Learning …", learned: "It has learned. Draw one of them here.",
    reading: "Reading the picture …", unpacking: "Reading the zip …",
    skipped: "These show no character that could be read: {files}.",
    answer: "This is {name}.", none: "This is none of them.",
    example: "Example {number} of {name}", query: "Your drawing", picture: "The picture",
    blank: "{what} is blank.", small: "{what} is too small to be read: draw larger, or crop closer.",
    dense: "{what} is too dense to be read: leave more paper between the strokes.",
    unreadable: "{what} cannot be read: save it as JPEG or PNG.",
    full: "{name} has {most} examples already; clear one first.",
    unreachable: "The server does not answer. Is it still running? Trying again …",
    unsaved: "The browser does not keep these drawings: its memory for this page is full or closed.",
    noCamera: "The camera cannot be used: {why}",
  },
  zh: {
    title: "画几笔，它就学会",
    introduction: "请自创两个或更多字符，每个画一到五遍作为样本。然后在大方框里再画其中一个：一个学会了“从少量样本学习”、却从没见过你的字符的网络，会说出它是哪一个。",
    method: "方法",
    maml: "MAML", reptile: "Reptile", protonet: "原型网络",
    aboutMaml: "MAML 从专为快速学习而训练的权重出发，在你的样本上做几步梯度下降。",
    aboutReptile: "Reptile 同样用梯度下降让权重适应你的样本；它的起点是不断向许多任务学到的权重靠近而得到的。",
    aboutProtonet: "原型网络不再更新权重：它把你画的字与每一类样本的均值相比，最近的就是答案。",
    upTo: "{checkpoint}，最多 {most} 类",
    examples: "每一类的样本",
    see: "网络眼中的样子", seeTitle: "显示网络实际得到的 28 x 28 像素的样本",
    more: "增加一类", undo: "撤销", fill: "填入示例", again: "重新开始",
    download: "下载", downloadTitle: "一个 zip，每类一个图片文件夹，可直接用于 evaluate.py --support",
    open: "打开…", openTitle: "一个 zip，每类一个图片文件夹；也可以把它拖放到页面的任何地方",
    question: "这是哪一个？",
    view: "网络眼中的样子",
    choose: "图片…", photograph: "拍照", take: "拍摄", leave: "取消",
    steps: "每一步更新之后", step: "步",
    here: "在此画", hereQuery: "在此画其中一个",
    name: "这一类的名称", clear: "清除 {name} 的第 {number} 个样本", clearQuery: "清除",
    choosing: "为 {name} 选择图片…", photographing: "为 {name} 拍照", removing: "删除 {name}",
    pad: "{name} 的第 {number} 个样本，{state}。在此画；回车键选择图片，Delete 键清除。",
    padQuery: "待识别的字符，{state}。在此画；回车键选择图片，Delete 键清除。",
    empty: "空白", drawn: "已画", refused: "无法使用",
    missing: "请画出 {names} 的样本。", learning: "正在学习…", learned: "学会了。请在此画其中一个。",
    reading: "正在读取图片…", unpacking: "正在读取 zip…",
    skipped: "这些文件中没有能辨认的字符：{files}。",
    answer: "这是 {name}。", none: "都不是。",
    example: "{name} 的第 {number} 个样本", query: "你画的字", picture: "这张图片",
    blank: "{what}是空白的。", small: "{what}太小，无法辨认：请画大一些，或裁剪得更近。",
    dense: "{what}太密，无法辨认：请在笔画之间多留些空白。",
    unreadable: "{what}无法读取：请存为 JPEG 或 PNG。",
    full: "{name} 已有 {most} 个样本；请先清除一个。",
    unreachable: "服务器没有回应。它还在运行吗？正在重试…",
    unsaved: "浏览器没有保存这些画：本页的存储空间已满或已关闭。",
    noCamera: "无法使用摄像头：{why}",
  },
};
const KEY = "draw-a-few-language";

let language = "en";

function kept() {
  try { return localStorage.getItem(KEY); } catch { return null; } // closed to this page
}

// The user's choice, else the browser's first language that is known here.
export function chooseLanguage() {
  const wished = [kept(), ...navigator.languages].filter(Boolean).map(tag => tag.slice(0, 2).toLowerCase());
  setLanguage(wished.find(tag => tag in TEXTS) ?? "en");
}

export function switchLanguage() {
  setLanguage(language === "en" ? "zh" : "en");
  try { localStorage.setItem(KEY, language); } catch { /* then it is chosen again next time */ }
}

function setLanguage(tag) {
  language = tag;
  document.documentElement.lang = tag === "zh" ? "zh-CN" : "en";
  document.title = text("title");
  translate(document.body);
}

// The text of this key with its values; a value that is a list is joined.
export function text(key, values = {}) {
  const written = value => (Array.isArray(value) ? value.join(language === "zh" ? "、" : ", ") : value);
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => written(values[name]));
}

export const known = key => key in TEXTS.en;

function translate(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", text(element.dataset.label));
  for (const element of root.querySelectorAll("[data-title]")) element.title = text(element.dataset.title);
  const other = document.getElementById("language");
  [other.textContent, other.lang] = language === "en" ? ["中文", "zh-CN"] : ["English", "en"];
}
