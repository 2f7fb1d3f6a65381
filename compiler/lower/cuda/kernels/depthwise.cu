// Depthwise convolutions: one filter a channel. Images channels last, filters [KH][KW][1][C]: a pack of channels has its
// weights side by side.
// S: n, h, w, c (of x), oh, ow (of y), kh, kw, sh, sw, dh, dw (dilations), ph, pw (pads before, may be negative), V, blocks,
// prologue, eps.
template <class S> struct Depthwise {
  Prologue<S> before;
  In<typename S::Image> x;
  In<float> filter;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    constexpr int Packs = S::c / S::V;
    for (int i = block * Threads + thread(); i < S::n * S::oh * S::ow * Packs; i += S::blocks * Threads) {
      int channel = i % Packs * S::V, pixel = i / Packs;
      int column = pixel % S::ow, row = pixel / S::ow % S::oh, image = pixel / S::ow / S::oh;
      Pack<S::V> sum = zero<S::V>();
#pragma unroll
      for (int a = 0; a < S::kh; a++)
#pragma unroll
        for (int b = 0; b < S::kw; b++) {
          int r = row * S::sh - S::ph + a * S::dh, q = column * S::sw - S::pw + b * S::dw;
          if (r < 0 || r >= S::h || q < 0 || q >= S::w) continue;
          Pack<S::V> v = load<S::V>(x, ((image * S::h + r) * S::w + q) * S::c + channel);
          v = before.template apply<S::V>(v, channel);
          Pack<S::V> f = load<S::V>(filter, (a * S::kw + b) * S::c + channel);
          for (int k = 0; k < S::V; k++) sum.v[k] += v.v[k] * f.v[k];
        }
      store<S::V>(y, pixel * S::c + channel, sum);
    }
  }
};

// DepthwiseInputGrad: the cotangent of x. Every pixel of x gathers from the outputs it is part of.
template <class S> struct DepthwiseInputGrad {
  In<typename S::Image> g;
  In<float> filter;
  Out<typename S::Image> dx;

  __device__ void run(int block) const {
    constexpr int Packs = S::c / S::V;
    for (int i = block * Threads + thread(); i < S::n * S::h * S::w * Packs; i += S::blocks * Threads) {
      int channel = i % Packs * S::V, pixel = i / Packs;
      int column = pixel % S::w, row = pixel / S::w % S::h, image = pixel / S::w / S::h;
      Pack<S::V> sum = zero<S::V>();
#pragma unroll
      for (int a = 0; a < S::kh; a++)
#pragma unroll
        for (int b = 0; b < S::kw; b++) {
          int r = row + S::ph - a * S::dh, q = column + S::pw - b * S::dw;
          if (r < 0 || r % S::sh != 0 || r / S::sh >= S::oh || q < 0 || q % S::sw != 0 || q / S::sw >= S::ow) continue;
          Pack<S::V> v = load<S::V>(g, ((image * S::oh + r / S::sh) * S::ow + q / S::sw) * S::c + channel);
          Pack<S::V> f = load<S::V>(filter, (a * S::kw + b) * S::c + channel);
          for (int k = 0; k < S::V; k++) sum.v[k] += v.v[k] * f.v[k];
        }
      store<S::V>(dx, pixel * S::c + channel, sum);
    }
  }
};

// DepthwiseWeightGrad: one sum for every tap over all pixels of y. S: also those of Columns, with V 1 and rows n·oh·ow.
template <class S> struct DepthwiseWeightGrad {
  static constexpr int Values = S::kh * S::kw, Batch = 1;
  typedef float Sum, Part;
  typedef int Row; // the pixel
  Prologue<S> before;
  In<typename S::Image> x, g;
  Out<float> df, partial;
  int counter, blocks;

  __device__ inline int read(int, int pixel, int) const { return pixel; }
  __device__ inline void add(float (&sums)[S::kh * S::kw][1], int pixel, int channel) const {
    int column = pixel % S::ow, row = pixel / S::ow % S::oh, image = pixel / S::ow / S::oh;
    float c = g[pixel * S::c + channel];
#pragma unroll
    for (int a = 0; a < S::kh; a++)
#pragma unroll
      for (int b = 0; b < S::kw; b++) {
        int r = row * S::sh - S::ph + a * S::dh, q = column * S::sw - S::pw + b * S::dw;
        if (r < 0 || r >= S::h || q < 0 || q >= S::w) continue;
        Pack<1> v = load<1>(x, ((image * S::h + r) * S::w + q) * S::c + channel);
        sums[a * S::kw + b][0] += c * before.template apply<1>(v, channel).v[0];
      }
  }
  template <class F> __device__ inline void finish(F total, int, int channel) const {
    for (int t = 0; t < Values; t++) df[t * S::c + channel] = (float)total(t);
  }
  __device__ void run(int block) const { Columns<S, DepthwiseWeightGrad>::run(*this, block); }
};
