# decoder-only transformer on the copy task, MindSpore
import argparse
import time

import numpy as np
import mindspore as ms
import mindspore.nn as nn
import mindspore.ops as ops
from mindspore.common.initializer import Normal

parser = argparse.ArgumentParser()
parser.add_argument("--d", type=int, default=32)
parser.add_argument("--nheads", type=int, default=2)
parser.add_argument("--nlayers", type=int, default=1)
parser.add_argument("--nvocab", type=int, default=20)
parser.add_argument("--seqlen", type=int, default=14)
parser.add_argument("--bs", type=int, default=8)
parser.add_argument("--niter", type=int, default=5)
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()


def linear(i, o):
    return nn.Dense(i, o, weight_init="xavier_uniform", bias_init="zeros")


class Attention(nn.Cell):
    def __init__(self, d, nheads):
        super().__init__()
        self.nheads, self.dh = nheads, d // nheads
        self.wq = linear(d, d)
        self.wk = linear(d, d)
        self.wv = linear(d, d)
        self.wo = linear(d, d)

    def construct(self, x, mask):
        b, t, d = x.shape
        q = self.wq(x).view(b, t, self.nheads, self.dh).transpose(0, 2, 1, 3)
        k = self.wk(x).view(b, t, self.nheads, self.dh).transpose(0, 2, 3, 1)
        v = self.wv(x).view(b, t, self.nheads, self.dh).transpose(0, 2, 1, 3)
        s = ops.matmul(q, k) * self.dh ** -0.5
        s = s + mask * -1.0             # push the forbidden positions down
        o = ops.matmul(ops.softmax(s, axis=-1), v)
        return self.wo(o.transpose(0, 2, 1, 3).reshape(b, t, d))


class DecoderBlock(nn.Cell):
    def __init__(self, d, nheads):
        super().__init__()
        self.ln_a = nn.LayerNorm((d,), epsilon=1e-5)
        self.attn = Attention(d, nheads)
        self.ln_b = nn.LayerNorm((d,), epsilon=1e-5)
        self.ffn = nn.SequentialCell(linear(d, 2 * d), nn.ReLU(), linear(2 * d, d))

    def construct(self, x, mask):
        x = x + self.attn(self.ln_a(x), mask)
        return x + self.ffn(self.ln_b(x))


class Decoder(nn.Cell):
    def __init__(self, d, nheads, nlayers, nvocab, seqlen):
        super().__init__()
        self.emb = nn.Embedding(nvocab, d, embedding_table=Normal(d ** -0.5))
        self.pos = nn.Embedding(seqlen, d, embedding_table=Normal(d ** -0.5))
        self.blocks = nn.CellList([DecoderBlock(d, nheads) for _ in range(nlayers)])
        self.ln = nn.LayerNorm((d,), epsilon=1e-5)

    def construct(self, tok):
        t = tok.shape[1]
        mask = ops.triu(ops.ones((t, t), ms.float32), 1)     # 1 above the diagonal: not to be seen
        x = self.emb(tok) + self.pos.embedding_table[:t]
        for blk in self.blocks:
            x = blk(x, mask)
        return ops.matmul(self.ln(x), self.emb.embedding_table.T)


class LossNet(nn.Cell):
    def __init__(self, net):
        super().__init__(auto_prefix=False)
        self.net = net

    def construct(self, inp, tgt):
        out = self.net(inp)
        logp = ops.log_softmax(out, axis=-1)
        return ops.nll_loss(logp.reshape(-1, logp.shape[-1]), tgt.reshape(-1))


ms.set_seed(0)
model = Decoder(args.d, args.nheads, args.nlayers, args.nvocab, args.seqlen)
opt = nn.SGD(model.trainable_params(), learning_rate=args.lr)
step = nn.TrainOneStepCell(LossNet(model), opt)
rng = np.random.RandomState(3)
half = args.seqlen // 2

step.set_train()
t0 = time.time()
for it in range(args.niter):
    first = rng.randint(1, args.nvocab, size=(args.bs, half))
    seq = np.concatenate([first, first, np.zeros((args.bs, 1), int)], axis=1)
    inp, tgt = ms.Tensor(seq[:, :-1], ms.int32), ms.Tensor(seq[:, 1:], ms.int32)
    loss = step(inp, tgt)
    print("it %d  loss %.4f  (%.1fs)" % (it, loss.asnumpy(), time.time() - t0))
